/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * modeset X Y: shows by the kernel's mode setting (DRM) a picture in the connector's preferred mode, with a cursor
 * at (X, Y), until it is killed. Pixel (x, y) of the picture is 0x10000 (3 x) + 0x100 (5 y) + (x ^ y), each colour
 * modulo 256; of the cursor it has alpha 4 x and, multiplied by it, green 2 y.
 */
#include <libdrm/drm.h>
#include <libdrm/drm_mode.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define CURSOR 64
#define XRGB8888 0x34325258 /* "XR24" */

static int card;

static void request(unsigned long number, void *argument, const char *what)
{
	if (ioctl(card, number, argument) < 0) {
		perror(what);
		exit(1);
	}
}

/* A buffer of 32 bits a pixel, mapped. */
static uint32_t *make_buffer(struct drm_mode_create_dumb *dumb, unsigned width, unsigned height)
{
	*dumb = (struct drm_mode_create_dumb){ .width = width, .height = height, .bpp = 32 };
	request(DRM_IOCTL_MODE_CREATE_DUMB, dumb, "create");
	struct drm_mode_map_dumb map = { .handle = dumb->handle };
	request(DRM_IOCTL_MODE_MAP_DUMB, &map, "map");
	void *at = mmap(NULL, dumb->size, PROT_READ | PROT_WRITE, MAP_SHARED, card, (off_t)map.offset);
	if (at == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return at;
}

static void find_mode(struct drm_mode_crtc *crtc, uint32_t *connector)
{
	struct drm_mode_modeinfo modes[64];
	uint32_t encoders[4];
	struct drm_mode_card_res resources = { .count_connectors = 1, .count_crtcs = 1 };
	resources.connector_id_ptr = (uintptr_t)connector;
	resources.crtc_id_ptr = (uintptr_t)&crtc->crtc_id;
	request(DRM_IOCTL_MODE_GETRESOURCES, &resources, "resources");
	/* The first request has the connector look at its monitor again. */
	struct drm_mode_get_connector connected = { .connector_id = *connector };
	request(DRM_IOCTL_MODE_GETCONNECTOR, &connected, "connector");
	struct drm_mode_get_connector full = { .connector_id = *connector, .count_modes = 64, .count_encoders = 4 };
	full.modes_ptr = (uintptr_t)modes;
	full.encoders_ptr = (uintptr_t)encoders;
	request(DRM_IOCTL_MODE_GETCONNECTOR, &full, "modes");
	if (!full.count_modes) {
		fprintf(stderr, "no modes\n");
		exit(1);
	}
	unsigned best = 0;
	for (unsigned i = full.count_modes; i-- > 0;)
		if (modes[i].type & DRM_MODE_TYPE_PREFERRED)
			best = i;
	crtc->mode = modes[best];
	crtc->mode_valid = 1;
}

int main(int argc, char **argv)
{
	struct drm_mode_create_dumb picture, pointer;
	struct drm_mode_crtc crtc = { 0 };
	uint32_t connector = 0;
	card = open("/dev/dri/card0", O_RDWR);
	if (argc != 3 || card < 0) {
		perror("/dev/dri/card0");
		return 1;
	}
	find_mode(&crtc, &connector);
	unsigned width = crtc.mode.hdisplay, height = crtc.mode.vdisplay;
	uint32_t *pixels = make_buffer(&picture, width, height);
	for (unsigned y = 0; y < height; y++)
		for (unsigned x = 0; x < width; x++)
			pixels[y * (picture.pitch / 4) + x] = (3 * x & 255) << 16 | (5 * y & 255) << 8 | ((x ^ y) & 255);
	uint32_t *cursor = make_buffer(&pointer, CURSOR, CURSOR);
	for (unsigned y = 0; y < CURSOR; y++)
		for (unsigned x = 0; x < CURSOR; x++)
			cursor[y * (pointer.pitch / 4) + x] = 4 * x << 24 | (2 * y * 4 * x / 255) << 8;
	struct drm_mode_fb_cmd2 fb = {
		.width = width, .height = height, .pixel_format = XRGB8888, .handles = { picture.handle }, .pitches = { picture.pitch },
	};
	request(DRM_IOCTL_MODE_ADDFB2, &fb, "frame buffer");
	crtc.fb_id = fb.fb_id;
	crtc.set_connectors_ptr = (uintptr_t)&connector;
	crtc.count_connectors = 1;
	request(DRM_IOCTL_MODE_SETCRTC, &crtc, "mode");
	struct drm_mode_cursor2 shown = {
		.flags = DRM_MODE_CURSOR_BO | DRM_MODE_CURSOR_MOVE, .crtc_id = crtc.crtc_id, .x = atoi(argv[1]), .y = atoi(argv[2]),
		.width = CURSOR, .height = CURSOR, .handle = pointer.handle,
	};
	request(DRM_IOCTL_MODE_CURSOR2, &shown, "cursor");
	printf("%u x %u\n", width, height);
	fflush(stdout);
	pause();
	return 0;
}

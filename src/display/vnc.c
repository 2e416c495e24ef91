/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "display/vnc.h"

#include <arpa/inet.h>
#include <errno.h>
#include <rfb/rfb.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/library.h"
#include "base/log.h"
#include "base/util.h"
#include "display/keys.h"
#include "host/thread.h"

#define SYMBOLS(S)                                                                                             \
	S(rfbCheckPasswordByList) S(rfbErr) S(rfbGetScreen) S(rfbInitServer) S(rfbLog) S(rfbMarkRectAsModified) \
	S(rfbNewFramebuffer) S(rfbProcessEvents) S(rfbScreenCleanup) S(rfbShutdownServer)
LIBRARY(rfb, "libvncserver.so.1", "libvncserver1", SYMBOLS);

#define FRAME_US 33000
#define IDLE_US 200000
#define PASSWORD_MAX 8u
#define WIDTH_AT_FIRST 640
#define HEIGHT_AT_FIRST 480
#define TILE 64u

/* Buttons of the pointer as RFB has them (7.5.5). */
#define RFB_LEFT 1
#define RFB_MIDDLE 2
#define RFB_RIGHT 4
#define RFB_WHEEL_UP 8
#define RFB_WHEEL_DOWN 16

struct vnc {
	struct vnc_config config;
	rfbScreenInfoPtr screen;
	char password[PASSWORD_MAX + 1];
	char *passwords[2];
	char title[64];
	struct surface surface;      /* as drawn last */
	uint32_t *shown;             /* what clients have, of the screen's size */
	int x, y;                    /* of the pointer */
	pthread_t thread;
	bool started;
	_Atomic bool ending;
};

/* --- input --- */

static void on_key(rfbBool down, rfbKeySym keysym, rfbClientPtr client)
{
	struct vnc *vnc = client->screen->screenData;
	unsigned code = key_by_keysym(keysym);
	if (code)
		vnc->config.key(vnc->config.opaque, code, down);
}

/* The PS/2 mouse knows of movement alone. */
static void on_pointer(int buttons, int x, int y, rfbClientPtr client)
{
	struct vnc *vnc = client->screen->screenData;
	unsigned held = (buttons & RFB_LEFT ? 1 : 0) | (buttons & RFB_RIGHT ? 2 : 0) | (buttons & RFB_MIDDLE ? 4 : 0);
	int wheel = buttons & RFB_WHEEL_UP ? -1 : buttons & RFB_WHEEL_DOWN ? 1 : 0;
	unsigned width = (unsigned)vnc->screen->width, height = (unsigned)vnc->screen->height;
	if (!vnc->config.pointer || !vnc->config.pointer(vnc->config.opaque, (unsigned)MAX(x, 0), (unsigned)MAX(y, 0), width, height, wheel, held))
		vnc->config.mouse(vnc->config.opaque, x - vnc->x, y - vnc->y, wheel, held);
	vnc->x = x;
	vnc->y = y;
}

/* SetDesktopSize: the screens of it are ignored, since the guest has one. */
static int on_resize(int width, int height, int screens, struct rfbExtDesktopScreen *screen, rfbClientPtr client)
{
	struct vnc *vnc = client->screen->screenData;
	bool asked = width > 0 && height > 0 && vnc->config.resize(vnc->config.opaque, (unsigned)width, (unsigned)height);
	return asked ? rfbExtDesktopSize_Success : rfbExtDesktopSize_ResizeProhibited;
}

/* --- pictures --- */

static bool resize(struct vnc *vnc)
{
	unsigned width = vnc->surface.width, height = vnc->surface.height;
	uint32_t *shown = calloc((size_t)width * height, sizeof(*shown)), *old = vnc->shown;
	if (!shown)
		return false;
	vnc->shown = shown;
	rfb.rfbNewFramebuffer(vnc->screen, (char *)shown, (int)width, (int)height, 8, 3, 4);
	/* The call goes back to its own order of colours. */
	vnc->screen->serverFormat.redShift = 16;
	vnc->screen->serverFormat.greenShift = 8;
	vnc->screen->serverFormat.blueShift = 0;
	free(old);
	rfb.rfbMarkRectAsModified(vnc->screen, 0, 0, (int)width, (int)height);
	return true;
}

/* Copies a tile when it differs. */
static void show_tile(struct vnc *vnc, unsigned left, unsigned top)
{
	unsigned width = vnc->surface.width, right = MIN(left + TILE, width), bottom = MIN(top + TILE, vnc->surface.height);
	size_t bytes = (right - left) * sizeof(uint32_t);
	bool changed = false;
	for (unsigned y = top; y < bottom; y++) {
		size_t at = (size_t)y * width + left;
		if (!memcmp(vnc->shown + at, vnc->surface.pixels + at, bytes))
			continue;
		memcpy(vnc->shown + at, vnc->surface.pixels + at, bytes);
		changed = true;
	}
	if (changed)
		rfb.rfbMarkRectAsModified(vnc->screen, (int)left, (int)top, (int)right, (int)bottom);
}

static void refresh(struct vnc *vnc)
{
	struct error err;
	if (vnc->config.source.draw(vnc->config.source.opaque, &vnc->surface, &err) < 0)
		return;
	if (((unsigned)vnc->screen->width != vnc->surface.width || (unsigned)vnc->screen->height != vnc->surface.height) && !resize(vnc)) {
		vnc->surface.picture = 0; /* for all of it to come again */
		return;
	}
	for (unsigned y = 0; y < vnc->surface.height; y += TILE) {
		if (!surface_marked(&vnc->surface, y, MIN(y + TILE, vnc->surface.height)))
			continue;
		for (unsigned x = 0; x < vnc->surface.width; x += TILE)
			show_tile(vnc, x, y);
	}
}

static void *serve(void *opaque)
{
	struct vnc *vnc = opaque;
	while (!atomic_load(&vnc->ending)) {
		bool watched = vnc->screen->clientHead != NULL;
		if (watched)
			refresh(vnc);
		rfb.rfbProcessEvents(vnc->screen, watched ? FRAME_US : IDLE_US);
	}
	return NULL;
}

/* --- making and ending --- */

static void log_line(const char *format, ...)
{
	char text[256];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	text[strcspn(text, "\n")] = 0;
	log_debug("VNC: %s", text);
}

static int parse_address(const char *text, char host[INET_ADDRSTRLEN], unsigned *port, struct error *err)
{
	const char *colon = strrchr(text, ':'), *number = colon ? colon + 1 : text;
	char *end;
	struct in_addr address;
	size_t length = colon ? (size_t)(colon - text) : 0;
	unsigned long value = strtoul(number, &end, 10);
	if (!*number || *end || value > 65535 || length >= INET_ADDRSTRLEN)
		return error_set(err, EINVAL, "VNC address '%s': write PORT or HOST:PORT with a port of up to 65535, as 5900 or 0.0.0.0:5901", text);
	memcpy(host, length ? text : "127.0.0.1", length ? length : 10);
	host[length ? length : 9] = 0;
	if (inet_pton(AF_INET, host, &address) != 1)
		return error_set(err, EINVAL, "VNC address '%s': '%s' is no IPv4 address", text, host);
	*port = (unsigned)value;
	return 0;
}

/* A socket of our own: the library's reports errors only to its log. */
static int listen_at(const char *host, unsigned *port, struct error *err)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)*port) };
	socklen_t size = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	inet_pton(AF_INET, host, &address.sin_addr);
	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, 8) == 0 &&
	    getsockname(fd, (struct sockaddr *)&address, &size) == 0) {
		*port = ntohs(address.sin_port);
		return fd;
	}
	int code = errno;
	if (fd >= 0)
		close(fd);
	return error_set(err, code, "VNC: cannot listen at %s:%u: %s%s", host, *port, strerror(code),
			 code == EADDRINUSE ? "; choose another port" : "");
}

static int set_up_screen(struct vnc *vnc, int fd, unsigned port, struct error *err)
{
	int argc = 0;
	if (library_load(&rfb_library, err) < 0)
		return -1;
	*rfb.rfbLog = *rfb.rfbErr = log_line;
	vnc->screen = rfb.rfbGetScreen(&argc, NULL, WIDTH_AT_FIRST, HEIGHT_AT_FIRST, 8, 3, 4);
	vnc->shown = calloc((size_t)WIDTH_AT_FIRST * HEIGHT_AT_FIRST, sizeof(*vnc->shown));
	if (!vnc->screen || !vnc->shown)
		return error_set(err, ENOMEM, "out of memory for the VNC server");
	rfbScreenInfoPtr screen = vnc->screen;
	screen->screenData = vnc;
	screen->frameBuffer = (char *)vnc->shown;
	screen->serverFormat.redShift = 16;
	screen->serverFormat.greenShift = 8;
	screen->serverFormat.blueShift = 0;
	screen->desktopName = vnc->title;
	screen->alwaysShared = TRUE;
	screen->cursor = NULL; /* the guest draws its own */
	screen->kbdAddEvent = on_key;
	screen->ptrAddEvent = on_pointer;
	if (vnc->config.resize)
		screen->setDesktopSizeHook = on_resize;
	screen->port = 0;
	screen->ipv6port = 0;
	screen->autoPort = FALSE;
	screen->httpPort = screen->http6Port = 0;
	if (vnc->config.password) {
		screen->authPasswdData = vnc->passwords;
		screen->passwordCheck = rfb.rfbCheckPasswordByList;
	}
	rfb.rfbInitServer(screen);
	screen->listenSock = fd;
	screen->port = (int)port;
	FD_SET(fd, &screen->allFds);
	screen->maxFd = MAX(fd, screen->maxFd);
	return 0;
}

struct vnc *vnc_create(const struct vnc_config *config, struct error *err)
{
	char host[INET_ADDRSTRLEN];
	unsigned port = 0;
	struct vnc *vnc = calloc(1, sizeof(*vnc));
	if (!vnc) {
		error_set(err, ENOMEM, "out of memory for the VNC server");
		return NULL;
	}
	vnc->config = *config;
	vnc->surface.again = true;
	if (config->password)
		snprintf(vnc->password, sizeof(vnc->password), "%s", config->password);
	vnc->passwords[0] = vnc->password;
	snprintf(vnc->title, sizeof(vnc->title), "%s", config->title);
	int fd = parse_address(config->address, host, &port, err) < 0 ? -1 : listen_at(host, &port, err);
	if (fd >= 0 && fd < FD_SETSIZE && set_up_screen(vnc, fd, port, err) == 0 &&
	    host_thread_start(&vnc->thread, "vnc", serve, vnc, err) == 0) {
		vnc->started = true;
		return vnc;
	}
	if (fd >= 0 && !vnc->screen)
		close(fd);
	vnc_destroy(vnc);
	return NULL;
}

void vnc_destroy(struct vnc *vnc)
{
	if (!vnc)
		return;
	atomic_store(&vnc->ending, true);
	if (vnc->started)
		pthread_join(vnc->thread, NULL);
	if (vnc->screen) {
		rfb.rfbShutdownServer(vnc->screen, TRUE);
		rfb.rfbScreenCleanup(vnc->screen);
	}
	free(vnc->shown);
	surface_destroy(&vnc->surface);
	free(vnc);
}

unsigned vnc_port(const struct vnc *vnc)
{
	return (unsigned)vnc->screen->port;
}

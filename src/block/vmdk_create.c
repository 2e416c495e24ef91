/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "block/vmdk.h"
#include "host/random.h"

#define DESCRIPTOR_SECTORS 20u

static const char *last_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

/* An IDE disk's geometry, as far as it reaches. */
static char *descriptor(const struct image_create *create, struct image *backing, const char *extent_name)
{
	uint64_t sectors = create->size / BLOCK_SECTOR, cylinders = MIN(sectors / (16 * 63), 16383ull);
	uint32_t cid;
	char *text = NULL, parent[1100] = "";
	host_random((uint8_t *)&cid, sizeof(cid));
	if (backing)
		snprintf(parent, sizeof(parent), "parentFileNameHint=\"%s\"\n", create->backing);
	if (asprintf(&text, "# Disk DescriptorFile\nversion=1\nCID=%08x\nparentCID=%08x\ncreateType=\"%s\"\n%s\n# Extent description\n"
		     "RW %llu %s \"%s\"%s\n\n# The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"4\"\nddb.geometry.cylinders = \"%llu\"\n"
		     "ddb.geometry.heads = \"16\"\nddb.geometry.sectors = \"63\"\nddb.adapterType = \"ide\"\n",
		     cid & 0x7fffffff, backing ? vmdk_of(backing)->cid : UINT32_MAX, create->fixed ? "monolithicFlat" : "monolithicSparse", parent,
		     (unsigned long long)sectors, create->fixed ? "FLAT" : "SPARSE", extent_name, create->fixed ? " 0" : "",
		     (unsigned long long)cylinders) < 0)
		return NULL;
	return text;
}

/* NAME-flat.vmdk beside NAME.vmdk */
static char *flat_path(const char *path)
{
	char *flat = NULL;
	const char *dot = strrchr(last_name(path), '.');
	size_t length = dot ? (size_t)(dot - path) : strlen(path);
	return asprintf(&flat, "%.*s-flat.vmdk", (int)length, path) < 0 ? NULL : flat;
}

static int create_flat(struct hostfile *file, const struct image_create *create, struct error *err)
{
	cleanup_free char *path = flat_path(create->path);
	cleanup_free char *text = path ? descriptor(create, NULL, last_name(path)) : NULL;
	if (!text)
		return error_set(err, ENOMEM, "out of memory for %s", create->path);
	struct hostfile *flat = hostfile_create(path, err);
	if (!flat)
		return -1;
	int error = hostfile_truncate(flat, create->size);
	if (!error)
		error = hostfile_sync(flat);
	hostfile_close(flat);
	if (!error)
		error = hostfile_write(file, text, strlen(text), 0);
	if (!error)
		return 0;
	unlink(path);
	return error_set(err, error, "%s: cannot write it: %s", path, strerror(error));
}

static void put_header(uint8_t *h, uint64_t sectors, uint64_t copy, uint64_t directory, uint64_t overhead)
{
	store_le32(h, VMDK_MAGIC);
	store_le32(h + VMDK_VERSION, 1);
	store_le32(h + VMDK_FLAGS, VMDK_FLAG_NEWLINES | VMDK_FLAG_REDUNDANT);
	store_le64(h + VMDK_CAPACITY, sectors);
	store_le64(h + VMDK_GRAIN_SIZE, VMDK_DEFAULT_GRAIN);
	store_le64(h + VMDK_DESCRIPTOR, 1);
	store_le64(h + VMDK_DESCRIPTOR_SIZE, DESCRIPTOR_SECTORS);
	store_le32(h + VMDK_NUM_GTES, VMDK_GTES);
	store_le64(h + VMDK_RGD, copy);
	store_le64(h + VMDK_GD, directory);
	store_le64(h + VMDK_OVERHEAD, overhead);
	memcpy(h + VMDK_NEWLINES, "\n \r\n", 4); /* damaged by a transfer as text, they would show it */
}

/* Header, descriptor, and twice a directory with all its tables, empty. */
static int create_sparse(struct hostfile *file, const struct image_create *create, struct image *backing, struct error *err)
{
	uint64_t sectors = create->size / BLOCK_SECTOR, reach = VMDK_DEFAULT_GRAIN * VMDK_GTES, table_sectors = VMDK_GTES * 4 / 512;
	uint64_t tables = sectors / reach + !!(sectors % reach), directory_sectors = ALIGN_UP(tables * 4, 512) / 512;
	uint64_t copy = 1 + DESCRIPTOR_SECTORS, directory = copy + directory_sectors + tables * table_sectors;
	uint64_t overhead = ALIGN_UP(directory + directory_sectors + tables * table_sectors, (uint64_t)VMDK_DEFAULT_GRAIN);
	cleanup_free char *text = descriptor(create, backing, last_name(create->path));
	cleanup_free uint8_t *all = overhead >> 32 ? NULL : calloc(overhead, 512);
	if (!text || !all)
		return error_set(err, ENOMEM, "out of memory for %s", create->path);
	if (strlen(text) > DESCRIPTOR_SECTORS * 512 || (create->backing && strlen(create->backing) > 1000))
		return error_set(err, ENAMETOOLONG, "%s: the name of the image behind it is too long", create->path);
	put_header(all, sectors, copy, directory, overhead);
	memcpy(all + 512, text, strlen(text));
	for (uint64_t i = 0; i < tables; i++) {
		store_le32(all + copy * 512 + i * 4, (uint32_t)(copy + directory_sectors + i * table_sectors));
		store_le32(all + directory * 512 + i * 4, (uint32_t)(directory + directory_sectors + i * table_sectors));
	}
	int error = hostfile_write(file, all, overhead * 512, 0);
	return error ? error_set(err, error, "%s: cannot write it: %s", create->path, strerror(error)) : 0;
}

int vmdk_create(struct hostfile *file, const struct image_create *create, struct image *backing, struct error *err)
{
	if (backing && (backing->ops != &vmdk_ops || create->fixed))
		return error_set(err, EINVAL, "%s: behind a VMDK there can only be another VMDK, and it cannot be fixed; choose qcow2", create->path);
	if (!create->fixed && create->size > 2040ull << 30)
		return error_set(err, EFBIG, "%s: a sparse VMDK has at most 2040G; choose --fixed or qcow2", create->path);
	return create->fixed ? create_flat(file, create, err) : create_sparse(file, create, backing, err);
}

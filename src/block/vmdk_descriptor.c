/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "block/vmdk.h"

static int damaged(const struct vmdk *vmdk, const char *line, struct error *err)
{
	return error_set(err, EINVAL, "%s: its descriptor has a line that makes no sense: %.80s", vmdk->image.file->path, line);
}

/* `line` is NAME = VALUE or NAME="VALUE" with this name. */
static bool value_of(char *line, const char *name, char **value)
{
	size_t length = strlen(name);
	if (strncasecmp(line, name, length))
		return false;
	char *p = line + length + strspn(line + length, " \t");
	if (*p != '=')
		return false;
	p += 1 + strspn(p + 1, " \t");
	if (*p == '"') {
		p++;
		p[strcspn(p, "\"")] = 0;
	}
	p[strcspn(p, "\r\n")] = 0;
	*value = p;
	return true;
}

static int open_extent_file(struct vmdk *vmdk, struct vmdk_extent *extent, const char *name, struct error *err)
{
	cleanup_free char *path = image_relative(vmdk->image.file->path, name);
	if (!path)
		return error_set(err, ENOMEM, "out of memory for %s", vmdk->image.file->path);
	extent->file = hostfile_open(path, vmdk->image.read_only, err);
	if (!extent->file)
		return error_prefix(err, "a part of %s", vmdk->image.file->path);
	extent->own_file = true;
	return 0;
}

static int check_flat(struct vmdk *vmdk, const struct vmdk_extent *extent, struct error *err)
{
	uint64_t size;
	int error = hostfile_size(extent->file, &size);
	if (!error && (extent->flat_offset > size || extent->size > size - extent->flat_offset))
		return error_set(err, EINVAL, "%s: the file %s is too short for it", vmdk->image.file->path, extent->file->path);
	return error ? error_set(err, error, "%s: %s", extent->file->path, strerror(error)) : 0;
}

/* RW 4192256 SPARSE "disk-s001.vmdk", or with an offset after the name. */
static int read_extent(struct vmdk *vmdk, char *line, bool embedded, struct error *err)
{
	char access[16], kind[16], name[1024] = "";
	unsigned long long sectors, offset = 0;
	int n = sscanf(line, "%15s %llu %15s \"%1023[^\"]\" %llu", access, &sectors, kind, name, &offset);
	if (n < 3 || sectors > INT64_MAX / 512 || offset > INT64_MAX / 512 || !sectors)
		return damaged(vmdk, line, err);
	struct vmdk_extent *grown = vmdk->count < VMDK_MAX_EXTENTS ? realloc(vmdk->extents, (vmdk->count + 1) * sizeof(*grown)) : NULL;
	if (!grown)
		return error_set(err, E2BIG, "%s: it has too many parts", vmdk->image.file->path);
	vmdk->extents = grown;
	struct vmdk_extent *extent = &grown[vmdk->count++];
	*extent = (struct vmdk_extent){ .start = vmdk->image.size, .size = sectors * 512, .flat_offset = offset * 512 };
	if (vmdk->image.size + extent->size > INT64_MAX)
		return damaged(vmdk, line, err);
	vmdk->image.size += extent->size;
	vmdk->image.read_only |= !strcmp(access, "RDONLY");
	if (!strcmp(kind, "ZERO")) {
		extent->kind = VMDK_ZERO;
		return 0;
	}
	bool sparse = !strcmp(kind, "SPARSE");
	if ((!sparse && strcmp(kind, "FLAT") && strcmp(kind, "VMFS")) || !*name)
		return error_set(err, ENOTSUP, "%s: parts of the kind %s are not supported; convert it with VMware's or another tool",
				 vmdk->image.file->path, kind);
	extent->kind = sparse ? VMDK_SPARSE : VMDK_FLAT;
	if (sparse && embedded && vmdk->count == 1)
		extent->file = vmdk->image.file;
	else if (open_extent_file(vmdk, extent, name, err) < 0)
		return -1;
	return sparse ? vmdk_open_sparse(vmdk, extent, err) : check_flat(vmdk, extent, err);
}

static int read_line(struct vmdk *vmdk, char *line, bool embedded, struct error *err)
{
	char *value;
	if (!strncmp(line, "RW ", 3) || !strncmp(line, "RDONLY ", 7))
		return read_extent(vmdk, line, embedded, err);
	if (value_of(line, "CID", &value))
		vmdk->cid = (uint32_t)strtoul(value, NULL, 16);
	else if (value_of(line, "parentCID", &value))
		vmdk->parent_cid = (uint32_t)strtoul(value, NULL, 16);
	else if (value_of(line, "createType", &value))
		snprintf(vmdk->type, sizeof(vmdk->type), "%s", value);
	else if (value_of(line, "parentFileNameHint", &value) && !vmdk->image.backing_name && !(vmdk->image.backing_name = strdup(value)))
		return error_set(err, ENOMEM, "out of memory for %s", vmdk->image.file->path);
	return 0;
}

int vmdk_read_descriptor(struct vmdk *vmdk, char *text, bool embedded, struct error *err)
{
	char *rest = text, *line;
	vmdk->parent_cid = UINT32_MAX;
	while ((line = strsep(&rest, "\n"))) {
		line += strspn(line, " \t");
		line[strcspn(line, "\r")] = 0;
		if (read_line(vmdk, line, embedded, err) < 0)
			return -1;
	}
	if (vmdk->parent_cid == UINT32_MAX) {
		free(vmdk->image.backing_name);
		vmdk->image.backing_name = NULL;
	}
	if (!vmdk->count)
		return error_set(err, EINVAL, "%s: its descriptor lists no extents, so there is no disk in it", vmdk->image.file->path);
	return 0;
}

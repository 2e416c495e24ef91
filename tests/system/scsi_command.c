/* SPDX-License-Identifier: GPL-2.0-or-later */
/* scsi_command DEVICE BYTE...: one SCSI command without data, or with up to 255 bytes in; its status, sense key and code, and the data, in hex. */
#include <fcntl.h>
#include <scsi/sg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

int main(int argc, char **argv)
{
	unsigned char cdb[16] = { 0 }, sense[32] = { 0 }, data[255] = { 0 };
	struct sg_io_hdr io = { .interface_id = 'S', .dxfer_direction = SG_DXFER_FROM_DEV, .dxfer_len = sizeof(data), .dxferp = data,
				.cmdp = cdb, .sbp = sense, .mx_sb_len = sizeof(sense), .timeout = 10000 };
	int fd = argc > 2 ? open(argv[1], O_RDWR | O_NONBLOCK) : -1;
	if (fd < 0)
		fd = open(argv[1], O_RDONLY | O_NONBLOCK);
	for (int i = 2; i < argc && i < 18; i++)
		cdb[io.cmd_len++] = (unsigned char)strtoul(argv[i], NULL, 16);
	if (fd < 0 || ioctl(fd, SG_IO, &io) < 0) {
		perror(argv[1]);
		return 1;
	}
	printf("scsi: status %02x sense %x/%02x data", io.status, sense[2] & 15, sense[12]);
	for (int i = 0; i < (int)sizeof(data) - io.resid; i++)
		printf(" %02x", data[i]);
	printf("\n");
	return 0;
}

# SPDX-License-Identifier: GPL-2.0-or-later
# A guest's own disk, /dev/vdb, past its page cache: streams of 1 MiB, and 4 KiB here and there, 32 at a time. All of what they reach was
# written before: it has its place in the host's file system and page cache, and nothing of it is still to be written back.

disk_fio() {
	fio --name=disk --filename=/dev/vdb --ioengine=libaio --direct=1 --thread --iodepth=32 --size=512m --randrepeat=1 --minimal "$@"
}

lay_out() {
	warm fio
	[ ! -e /tmp/laid_out ] || return 0
	disk_fio --rw=write --bs=1m --end_fsync=1 && : >/tmp/laid_out
}

# disk KIND BLOCK KB: so many KB in all.
disk() { disk_fio --rw="$1" --bs="$2" --io_size="$3k" >log && echo done; }

disk_read_prepare() { lay_out; }
disk_read_run() { disk read 1m "$(n 12000000)"; }

disk_write_prepare() { lay_out; }
disk_write_run() { disk write 1m "$(n 8000000)"; }

disk_random_read_prepare() { lay_out; }
disk_random_read_run() { disk randread 4k "$(n 400000)"; }

disk_random_write_prepare() { lay_out; }
disk_random_write_run() { disk randwrite 4k "$(n 400000)"; }

# SPDX-License-Identifier: GPL-2.0-or-later
# A guest's own disk, /dev/vdb, past its page cache: streams of 1 MiB, and 4 KiB here and there, 32 at a time.

# disk KIND BLOCK KB: so many KB in all.
disk() {
	fio --name=disk --filename=/dev/vdb --ioengine=libaio --direct=1 --thread --iodepth=32 --rw="$1" --bs="$2" --size=512m \
		--io_size="$3k" --randrepeat=1 --minimal >log && echo done
}

disk_read_prepare() { warm fio; }
disk_read_run() { disk read 1m "$(n 12000000)"; }

disk_write_prepare() { warm fio; }
disk_write_run() { disk write 1m "$(n 8000000)"; }

disk_random_read_prepare() { warm fio; }
disk_random_read_run() { disk randread 4k "$(n 400000)"; }

disk_random_write_prepare() { warm fio; }
disk_random_write_run() { disk randwrite 4k "$(n 400000)"; }

# SPDX-License-Identifier: GPL-2.0-or-later
# Processes, system calls, page faults, files: the guest kernel's work.

fork_exec_prepare() { warm system; }
fork_exec_run() { system fork_exec "$(n 900)"; }

pipe_prepare() { warm system; }
pipe_run() { system pipe "$(n 400000)"; }

getpid_prepare() { warm system; }
getpid_run() { system getpid "$(n 5000000)"; }

page_fault_prepare() { warm system; }
page_fault_run() { system page_fault "$(n 90)"; }

files_prepare() { warm system; }
files_run() { system files "$(n 50000)"; }

find_prepare() { warm find sort; find /usr -type f -size +1k >/dev/null; }
find_run() {
	i=0 times=$(n 15)
	while [ $i -lt "$times" ]; do
		find /usr -type f -size +1k -printf '%s %f\n' | sort >list
		i=$((i + 1))
	done
	cat list
}

tar_prepare() { warm tar; tar -C /usr/include -cf - . | wc -c; }
tar_run() {
	i=0 times=$(n 12)
	while [ $i -lt "$times" ]; do
		tar --sort=name --owner=0 --group=0 --numeric-owner -C /usr/include -cf headers.tar linux openssl &&
			mkdir out && tar -C out -xf headers.tar && rm -r out
		i=$((i + 1))
	done
	cat headers.tar
}

#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Flags, errors and exit statuses that need no guest.
set -u
failed=0
export XDG_DATA_HOME=$PWD/data

# expect STATUS PATTERN ARGS...: PATTERN must be in what it prints; with status 1 and 2 all of that is on standard error.
expect() {
	status=$1 pattern=$2
	shift 2
	timeout 60 "$VISOR" "$@" >out 2>err </dev/null
	got=$?
	[ $got = "$status" ] || { echo "visor $*: status $got instead of $status"; cat out err; failed=1; }
	cat out err | grep -q -e "$pattern" || { echo "visor $*: '$pattern' is not in:"; cat out err; failed=1; }
	if [ "$status" != 0 ] && [ -s out ]; then echo "visor $*: an error's text on standard output"; failed=1; fi
	if [ "$status" = 0 ] && [ -s err ]; then echo "visor $*: success, but on standard error:"; cat err; failed=1; fi
}

expect 0 '^visor [0-9]' version
expect 0 '^visor [0-9]' --version
expect 0 'visor run' help
expect 0 'memory SIZE' help run
expect 0 'memory SIZE' run --help
expect 0 '^NAME' list
expect 0 '^\[\]' list --json
expect 2 'visor help'
expect 2 "did you mean 'visor run'" rnu
expect 2 "did you mean 'visor run'" help rnu
expect 2 'no such command' xyzzy
expect 2 'did you mean --memory' run --memroy 5M
expect 2 'nothing to start' run
expect 2 'as in 512M' run --memory lots
expect 2 '2M to 1T' run --memory 0
expect 2 'whole number of MiB' run --kernel x --memory 3145729
expect 2 'give 1 to 16' run --cpus 17
expect 2 'host, x86-64-v1' run --cpu z80
expect 2 'auto, interp' run --engine warp
expect 2 'choose from: pc' run --machine toaster
expect 2 'value is missing' run --kernel
expect 2 'takes no value' run --no-reboot=1
expect 2 'one argument too many' run image more
expect 1 'there is no image' run image
expect 2 'cannot be a name' run image --name ../x
expect 1 'cannot be a name' run ../image --name x
expect 2 'belongs to a machine made from an image' run --disk x --ssh-key y
expect 0 '^NAME' image list
expect 0 '^\[\]' image list --json
expect 1 'there is no image' image rm nothing
expect 1 'no machine' rm nothing
expect 1 'nosuchfile' image import nosuchfile
expect 1 'give --name' image import 'a b.img'
expect 2 '64 hexadecimal digits' image import x --sha256 12
expect 2 'only debian' image build beos
expect 2 'whole number of MiB' image build debian --size 4294967297
expect 2 'short options' run -m 5
expect 2 'give --kernel' run --initrd x
expect 2 'give --kernel' run --append x --disk y
expect 2 'stdio, none, file:PATH' run --kernel x --console tcp:1
expect 2 'stdio is taken' run --kernel x --serial2 stdio
expect 2 'cannot be a name' run --kernel x --name ../x
expect 2 'cannot be given with --restore' run --restore x --memory 1G
expect 2 'visor save NAME FILE' save onlyname
expect 1 'no machine of that name' stop nobody
expect 1 'no machine of that name' stats nobody
expect 1 'no machine of that name' save nobody file
expect 1 'nosuchfile' run --kernel nosuchfile
expect 1 'nosuchfile' run --kernel "$VISOR" --initrd nosuchfile
expect 1 'nosuchdisk' run --disk nosuchdisk
expect 1 'nosuchsave' run --restore nosuchsave
echo "a text" >text
expect 1 'text' run --kernel text
expect 1 'no save file\|not a save file' run --restore text
: >empty
expect 1 'empty' run --kernel empty
expect 1 'empty' run --restore empty

# What an operating system refuses.
mkdir -m 755 open && mkdir -m 755 open/visor
XDG_RUNTIME_DIR=$PWD/open expect 1 'open to other users' list
"$VISOR" help >/dev/full 2>err && { echo "help to a full disk: status 0"; failed=1; }

# The manual page and the completion parse.
"$VISOR" help --man >visor.1
if command -v man >/dev/null; then
	man --warnings -l visor.1 2>warnings >page
	[ ! -s warnings ] || { echo "the manual page:"; cat warnings; failed=1; }
	grep -q 'EXIT STATUS' page || { echo "the manual page lacks EXIT STATUS"; failed=1; }
fi
"$VISOR" help --completion bash >completion
bash -n completion || failed=1
words=$(bash -c '. ./completion; COMP_WORDS=(visor run --mem) COMP_CWORD=2; _visor; echo ${COMPREPLY[@]}')
[ "$words" = --memory ] || { echo "completion of --mem: $words"; failed=1; }
words=$(bash -c '. ./completion; COMP_WORDS=(visor run --cpu x86-64-v4) COMP_CWORD=3; _visor; echo ${COMPREPLY[@]}')
[ "$words" = x86-64-v4 ] || { echo "completion of --cpu: $words"; failed=1; }
exit $failed

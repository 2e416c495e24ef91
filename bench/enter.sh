#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# bench/enter.sh TREE PROGRAM [ARGUMENT]...: runs a program in that tree, with the host's /dev and /proc and a /tmp in
# memory, in a mount namespace of its own; as root, or in a user namespace where the host allows one.
set -eu

if [ "$1" != --inside ]; then
	[ "$(id -u)" = 0 ] && user= || user=--map-root-user
	exec unshare $user --mount --propagation private -- "$0" --inside "$@"
fi
shift
tree=$1
shift
mount --rbind /dev "$tree/dev"
mount --rbind /proc "$tree/proc"
mount -t tmpfs -o mode=1777 tmpfs "$tree/tmp"
exec env -i PATH=/usr/bin:/usr/sbin HOME=/tmp LC_ALL=C "$(command -v chroot)" "$tree" "$@"

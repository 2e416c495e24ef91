# SPDX-License-Identifier: GPL-2.0-or-later
#
# Sourced, after apt.sh, by scripts that make a root file system out of Debian's packages; it needs no root.

# unpack_tree ARCH TREE WORK PACKAGE...: the packages and what they depend on, with Debian's merged /usr, without their
# maintainer scripts. WORK is a folder for apt's lists and words.
unpack_tree() {
	arch=$1 tree=$2 work=$3
	shift 3
	apt_update "$arch"
	rm -rf "$tree"
	mkdir -p "$tree/usr/bin" "$tree/usr/sbin" "$tree/usr/lib" "$tree/usr/lib64"
	for folder in bin sbin lib lib64; do
		ln -s "usr/$folder" "$tree/$folder"
	done
	mkdir -p "$tree/proc" "$tree/sys" "$tree/dev" "$tree/tmp" "$tree/etc"
	# To a tree without a status file every dependency is new.
	# --print-uris leaves out what has been fetched: the list is made with an empty archive.
	mkdir -p "$work/empty/partial"
	apt "$arch" apt-get -y --no-install-recommends -o Dir::Cache::archives="$work/empty" --print-uris install "$@" \
		>"$work/uris" 2>"$work/apt.log" &&
		apt "$arch" apt-get -y --no-install-recommends --download-only install "$@" >"$work/apt.log" 2>&1 || {
		rm -f "$dir/.apt/$arch/updated" # the lists may be older than the archive
		cat "$work/apt.log" >&2
		die "cannot fetch the packages; run the command again"
	}
	sed -n "s/^'[^']*' \([^ ]*\.deb\) .*/\1/p" "$work/uris" | while read -r deb; do
		dpkg-deb --fsys-tarfile "$dir/.apt/$arch/cache/archives/$deb" |
			tar -x --keep-directory-symlink --no-same-owner -C "$tree" || die "cannot unpack $deb"
	done
	ln -sf dash "$tree/usr/bin/sh"
	rm -rf "$tree/usr/share/doc" "$tree/usr/share/man" "$tree/usr/share/locale"
}

# tree_image TREE IMAGE LOG: the tree as an ext4 image, as sparse as it goes; it is only ever read.
tree_image() {
	rm -f "$2" "$2.new"
	size=$(($(du -sm --apparent-size "$1" | cut -f 1) * 5 / 4 + 64))
	/sbin/mkfs.ext4 -q -O ^has_journal -m 0 -E root_owner=0:0 -d "$1" "$2.new" "${size}M" >"$3" 2>&1 || {
		cat "$3" >&2
		die "mkfs.ext4 cannot make $2"
	}
	mv "$2.new" "$2"
}

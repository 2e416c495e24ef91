# SPDX-License-Identifier: GPL-2.0-or-later
#
# Sourced by scripts that fetch packages without root. apt runs with a configuration and state of its own
# below $dir, so that the host's sources serve but its package lists, cache and architectures stay untouched.

# apt ARCH TOOL ARGS...: apt-get or apt-cache for that architecture, with private state.
apt() {
	arch=$1 tool=$2 state=$dir/.apt/$1
	shift 2
	mkdir -p "$state/state/lists/partial" "$state/cache/archives/partial"
	"$tool" -q -o Dir::State="$state/state" -o Dir::State::status=/dev/null -o Dir::Cache="$state/cache" \
		-o APT::Architecture="$arch" -o APT::Architectures::="$arch" -o APT::Architectures="$arch" \
		-o APT::Sandbox::User="$(id -un)" -o Acquire::Retries=3 -o Acquire::Languages=none "$@"
}

apt_update() {
	[ -e "$dir/.apt/$1/updated" ] && return
	echo "${0##*/}: reading the package lists for $1" >&2
	apt "$1" apt-get update >"$dir/.apt-$1.log" 2>&1 || {
		# A source that does not serve this architecture is no harm as long as Debian's own does.
		apt "$1" apt-cache show busybox-static >/dev/null 2>&1 || {
			cat "$dir/.apt-$1.log" >&2
			die "cannot read Debian's package lists for $1; check the network and /etc/apt/sources.list"
		}
	}
	touch "$dir/.apt/$1/updated"
}

#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# tests/check-includes.sh SOURCE [CC]: the rule of inclusion (ARCHITECTURE.md), and
# that every header compiles alone.
set -eu

src=$1/src cc=${2:-cc}
failed=0
fail() { echo "$*"; failed=1; }

# What a folder may include besides itself; a file: that header alone.
allowed() {
	case $1 in
	base) ;;
	host) echo base ;;
	isa) echo base ;;
	mem) echo base host ;;
	state) echo base ;;
	bus) echo base mem state ;;
	cpu) echo base isa mem state bus ;;
	block | net | display | audio | share) echo base host state ;;
	dev) echo base bus mem state block net display audio share ;;
	engine) echo isa cpu mem bus host base ;;
	vm) echo base host isa mem state bus cpu block net display audio share dev engine ;;
	store) echo base host block ;;
	mount) echo base host block ;;
	cli) echo base host block vm store mount ;;
	*) echo UNKNOWN ;;
	esac
}

for file in $(find "$src" -name '*.[ch]' | sort); do
	relative=${file#"$src"/}
	folder=${relative%%/*}
	may=$(allowed "$folder")
	[ "$may" != UNKNOWN ] || fail "src/$folder: this folder is not in the table of tests/check-includes.sh"
	for included in $(sed -n 's/^[ \t]*#[ \t]*include[ \t]*"\([^"]*\)".*/\1/p' "$file"); do
		[ -e "$src/$included" ] || [ -e "$(dirname "$file")/$included" ] || continue # a generated file
		case $included in */*) ;; *) continue ;; esac # beside it
		other=${included%%/*}
		case " $folder $may " in
		*" $other "*) ;;
		*) fail "src/$relative: may not include $included ($folder includes: ${may:-nothing})" ;;
		esac
		# Engines never include one another; what they share is a file of engine/ itself.
		if [ "$folder" = engine ] && [ "$other" = engine ]; then
			mine=$(echo "$relative" | cut -d/ -f2) its=$(echo "$included" | cut -d/ -f2)
			case $its in
			*.h | "$mine") ;;
			*) fail "src/$relative: an engine may not include another's $included" ;;
			esac
		fi
	done
done

# isa/table_*.h are rows for the preprocessor, taken in between definitions of their macros.
for header in $(find "$src" -name '*.h' ! -path '*/isa/table_*.h' | sort); do
	$cc -std=gnu17 -Wall -Wextra -Wno-unused-parameter -Wno-unused-function -I"$src" -fsyntax-only -x c "$header" 2>/tmp/visor-header.$$ ||
		fail "src/${header#"$src"/}: does not compile alone: $(head -n 1 /tmp/visor-header.$$)"
done
rm -f /tmp/visor-header.$$
[ $failed = 0 ] && echo "the rule of inclusion is kept"
exit $failed

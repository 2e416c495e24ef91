# SPDX-License-Identifier: GPL-2.0-or-later
# Integer work. Sizes give about 0.5 to 1 s on the bare host.

shell_run() {
	limit=$(n 600000) i=0 sum=0
	while [ $i -lt "$limit" ]; do
		i=$((i + 1))
		case $i in
		*7) sum=$((sum + i)) ;;
		*) sum=$((sum ^ i)) ;;
		esac
	done
	echo $sum
}

gzip_prepare() { warm gzip; input text 18000; }
gzip_run() { gzip -n <text >text.gz && gzip -dc text.gz | cmp - text && cat text.gz; }

xz_prepare() { warm xz; input text 2700; }
xz_run() { xz -6 -T1 <text >text.xz && xz -dc text.xz | cmp - text && cat text.xz; }

zstd_prepare() { warm zstd; input code 18000; }
zstd_run() { zstd -q -9 --single-thread <code >code.zst && zstd -q -dc code.zst | cmp - code && cat code.zst; }

bzip2_prepare() { warm bzip2; input text 8000; }
bzip2_run() { bzip2 <text >text.bz2 && bzip2 -dc text.bz2 | cmp - text && cat text.bz2; }

sort_prepare() { warm sort; input text 40000; }
sort_run() { sort --parallel=1 text; }

perl_prepare() { warm perl; input text 7000; }
perl_run() {
	perl -e '
		my %count;
		while (<>) {
			s/(\w)(\w+)/\U$1\E$2/g if /[a-z]_/;
			$count{lc $1}++ while /([A-Za-z]+)/g;
		}
		print "$_ $count{$_}\n" for sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count;' text
}

python3_prepare() { warm python3; input text 6000; python3 -c 'import re'; }
python3_run() {
	python3 -c '
import re
index = {}
for number, line in enumerate(open("text", encoding="latin-1")):
    for word in re.findall(r"\w+", line):
        index.setdefault(word.lower(), []).append(number)
groups = {}
for word, lines in index.items():
    groups.setdefault("".join(sorted(word)), []).append((word, sum(lines) % 1009))
for key in sorted(groups):
    print(key, sorted(groups[key]))'
}

lua_prepare() { warm lua5.4; input text 9000; }
lua_run() {
	lua5.4 -e '
		local count, order = {}, {}
		for line in io.lines("text") do
			for word in line:gmatch("%a+") do
				if not count[word] then count[word] = 0; order[#order + 1] = word end
				count[word] = count[word] + 1
			end
		end
		table.sort(order, function(a, b) return count[a] > count[b] or count[a] == count[b] and a < b end)
		local function queens(row, columns, up, down, n)
			if row == n then return 1 end
			local found = 0
			for c = 0, n - 1 do
				if not (columns[c] or up[row + c] or down[row - c]) then
					columns[c], up[row + c], down[row - c] = true, true, true
					found = found + queens(row + 1, columns, up, down, n)
					columns[c], up[row + c], down[row - c] = nil, nil, nil
				end
			end
			return found
		end
		for _, word in ipairs(order) do print(word, count[word]) end
		print(queens(0, {}, {}, {}, 7))'
}

sqlite3_prepare() { warm sqlite3; }
sqlite3_run() {
	sqlite3 :memory: "
		create table t(id integer primary key, k integer, v text);
		with recursive c(x) as (select 1 union all select x + 1 from c where x < $(n 300000))
			insert into t select x, x * 7919 % 10007, 'value ' || (x * 31 % 997) from c;
		create index tk on t(k);
		select count(*), sum(k), max(v) from t where k between 100 and 5000;
		select v, count(*), sum(id) from t group by v order by 2 desc, 1 limit 50;
		select count(*) from t a join t b on a.k = b.id where b.v like '%7';"
}

sha256sum_prepare() { warm sha256sum; input code 24000; }
sha256sum_run() {
	for i in 1 2 3 4 5 6 7 8; do
		sha256sum code
	done
}

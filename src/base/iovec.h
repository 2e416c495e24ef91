/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_BASE_IOVEC_H
#define VISOR_BASE_IOVEC_H

#include <stdint.h>
#include <sys/uio.h>

#include "base/util.h"

/* The pieces of a list that hold bytes [skip, skip + length), at most `room` of them; how many. */
static inline unsigned iovec_slice(const struct iovec *from, unsigned count, uint64_t skip, uint64_t length, struct iovec *to,
				   unsigned room)
{
	unsigned made = 0;
	for (unsigned i = 0; i < count && length && made < room; i++) {
		uint64_t cut = MIN(skip, (uint64_t)from[i].iov_len);
		uint64_t take = MIN(length, from[i].iov_len - cut);
		skip -= cut;
		length -= take;
		if (take)
			to[made++] = (struct iovec){ (char *)from[i].iov_base + cut, take };
	}
	return made;
}

#endif

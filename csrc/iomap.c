/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * iomap.c -- asking a block map: answers that are nonsense, or may be old
 *
 * Owns: nothing.  Locks: as its callers.  Kernel: fs/iomap.c (v4.14).
 */
#include "iomap.h"

#include <errno.h>
#include <inttypes.h>

#include "errormsg.h"

__cold int iomap_bad_answer(const struct dax_iomap *iomap, dax_loff_t pos)
{
	return dax_error(-EIO, "the block map answered type %u, offset %" PRId64
			 ", length %" PRIu64 " when asked for byte %" PRId64
			 ": an extent of a known type that covers it is needed",
			 iomap->type, iomap->offset, iomap->length, pos);
}

static bool same_bytes(const struct dax_iomap *now, const struct dax_iomap *before,
		       dax_loff_t pos, size_t n)
{
	return now->type == DAX_IOMAP_MAPPED && iomap_type_known(now) &&
	       now->dax_dev == before->dax_dev &&
	       iomap_addr(now, pos) == iomap_addr(before, pos) &&
	       iomap_left(now, pos, n) == n;
}

int iomap_ask_again(struct dax_mapping *mapping, const struct dax_iomap *before,
		    dax_loff_t pos, size_t n)
{
	struct dax_iomap now;
	bool same;
	int ret = iomap_begin(mapping, pos, n, 0, &now);

	if (ret)
		return ret;
	same = same_bytes(&now, before, pos, n);
	ret = iomap_end(mapping, pos, n, 0, 0, &now);
	return ret || same ? ret : IOMAP_MOVED;
}

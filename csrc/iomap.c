/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * iomap.c -- asking a block map: what is said when it answers nonsense
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

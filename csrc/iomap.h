/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * iomap.h -- asking a block map, with begin and end always paired
 *
 * A hole is an answer of type HOLE, an error is a negative return: the two
 * are never the same.  Answers are checked: a block map is the embedder's.
 * Kernel: iomap_apply() (v4.14).
 */
#ifndef DAXCORE_IOMAP_H
#define DAXCORE_IOMAP_H

#include "mapping.h"

/* -EIO with a message: the answer does not cover @pos, or is out of range. */
int iomap_bad_answer(const struct dax_iomap *iomap, dax_loff_t pos);

/* Does the answer cover @pos?  Its type and device are checked where they are
 * used. */
static inline bool iomap_covers(const struct dax_iomap *iomap, dax_loff_t pos)
{
	return (uint64_t)pos - (uint64_t)iomap->offset < iomap->length &&
	       (int64_t)iomap->length > 0;
}

/* HOLE, UNWRITTEN, or MAPPED to bytes of some device that there can be. */
static inline bool iomap_type_known(const struct dax_iomap *iomap)
{
	return iomap->type == DAX_IOMAP_HOLE ||
	       iomap->type == DAX_IOMAP_UNWRITTEN ||
	       (iomap->type == DAX_IOMAP_MAPPED && iomap->dax_dev &&
		iomap->addr <= UINT64_MAX - iomap->length);
}

/* Bytes of @iomap from @pos on, at most @len. */
static inline size_t iomap_left(const struct dax_iomap *iomap, dax_loff_t pos,
				size_t len)
{
	uint64_t left = iomap->length - (uint64_t)(pos - iomap->offset);

	return left < len ? (size_t)left : len;
}

/* Byte of the device behind byte @pos of a MAPPED extent; kernel:
 * iomap_sector(). */
static inline uint64_t iomap_addr(const struct dax_iomap *iomap, dax_loff_t pos)
{
	return iomap->addr + (uint64_t)(pos - iomap->offset);
}

/* Frame of the page at @pos of a MAPPED extent; 0 if it begins within one. */
static inline dax_pfn_t iomap_pfn(const struct dax_iomap *iomap, dax_loff_t pos)
{
	uint64_t addr = iomap_addr(iomap, pos);

	if (unlikely((addr ^ (uint64_t)pos) & (DAX_PAGE_SIZE - 1)))
		return 0;
	return iomap->dax_dev->pfn_base + (addr >> DAX_PAGE_SHIFT);
}

/* What an operation of a block map returned: 0 or -errno (4095 at most, which is
 * what is kept of a failure), nothing else. */
static inline int iomap_result(int ret)
{
	return likely(ret <= 0 && ret >= -4095) ? ret : -EIO;
}

/* @written: bytes used, 0 after a failure. */
static inline int iomap_end(struct dax_mapping *mapping, dax_loff_t pos,
			    uint64_t length, int64_t written,
			    unsigned int flags, struct dax_iomap *iomap)
{
	const struct dax_iomap_ops *ops = READ_ONCE(mapping->ops);

	if (likely(!ops->iomap_end))
		return 0;
	return iomap_result(ops->iomap_end(mapping, mapping->private_data, pos,
					   length, written, flags, iomap));
}

/*
 * Ask for one extent that covers @pos.  On 0 the caller owes iomap_end();
 * on an error nothing is owed.
 */
static inline int iomap_begin(struct dax_mapping *mapping, dax_loff_t pos,
			      uint64_t length, unsigned int flags,
			      struct dax_iomap *iomap)
{
	int ret;

	iomap->flags = 0;
	iomap->dax_dev = mapping->dax_dev;
	iomap->private_data = NULL;
	ret = READ_ONCE(mapping->ops)->iomap_begin(mapping,
						   mapping->private_data, pos,
						   length, flags, iomap);
	if (unlikely(ret))
		return iomap_result(ret);
	if (unlikely(!iomap_covers(iomap, pos)))
		ret = iomap_bad_answer(iomap, pos);
	else if (unlikely(iomap->dax_dev != mapping->dax_dev) && iomap->dax_dev)
		ret = mapping_meet_device(mapping, iomap->dax_dev);
	if (unlikely(ret))
		iomap_end(mapping, pos, length, 0, flags, iomap);
	return ret;
}

/* Not an errno: the file's bytes are elsewhere by now. */
enum { IOMAP_MOVED = 1 };

/*
 * The frames behind [pos, pos + n), MAPPED by the answer @before, have been
 * pinned or looked at since: does the block map still put the bytes there?  0,
 * IOMAP_MOVED, or -errno.
 */
int iomap_ask_again(struct dax_mapping *mapping, const struct dax_iomap *before,
		    dax_loff_t pos, size_t n);

#endif

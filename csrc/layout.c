/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * layout.c -- blocks that somebody has pinned are not taken away
 *
 * Owns: nothing.
 * Locks: takes i_rwsem and invalidate_lock exclusive and returns with them;
 *        sleeps for pins with none.
 * Kernel: fs/dax.c, dax_layout_busy_page_range(), dax_break_layout() (6.15).
 * Differs: leaves are not dropped before the look: here they give no pins,
 *          pin_pages() does and needs invalidate_lock.
 */
#include "layout.h"

#include <errno.h>
#include <inttypes.h>

#include "ahead.h"
#include "blocks.h"
#include "errormsg.h"
#include "frames.h"
#include "freeze.h"
#include "iomap.h"

/* Index of the first pinned block in [block, block + nr), or @nr. */
static uint64_t first_pinned(const struct block_allocator *blocks, uint64_t block,
			     uint64_t nr)
{
	uint64_t i = 0;

	while (i < nr && block + i < blocks->nr &&
	       !frame_is_pinned(&blocks->frames, block + i))
		i++;
	return block + i < blocks->nr ? i : nr;
}

/* One answer of the block map, from @pos on: 1 if a page of it is busy. */
static int busy_extent(const struct dax_iomap *iomap, dax_loff_t pos, uint64_t n,
		       dax_pgoff_t *ret_index, dax_pfn_t *ret_pfn)
{
	uint64_t addr = iomap_addr(iomap, pos);
	uint64_t block = addr >> DAX_PAGE_SHIFT;
	uint64_t nr = ((addr + n - 1) >> DAX_PAGE_SHIFT) - block + 1, i;

	if (iomap->type != DAX_IOMAP_MAPPED || !iomap_type_known(iomap))
		return 0;
	i = first_pinned(&iomap->dax_dev->blocks, block, nr);
	if (i == nr)
		return 0;
	*ret_index = ((dax_pgoff_t)pos >> DAX_PAGE_SHIFT) + i;
	*ret_pfn = iomap->dax_dev->pfn_base + block + i;
	return 1;
}

int layout_busy_page_range(const struct layout_range *range,
			   dax_pgoff_t *ret_index, dax_pfn_t *ret_pfn)
{
	struct dax_mapping *mapping = range->mapping;
	dax_pgoff_t max_pgoff = mapping_max_pgoff(mapping);
	dax_loff_t pos, end;
	int ret = 0;

	if (!frames_any_buffer() || range->first >= max_pgoff)
		return 0;
	pos = (dax_loff_t)(range->first << DAX_PAGE_SHIFT);
	end = (dax_loff_t)((range->end < max_pgoff ? range->end : max_pgoff)
			   << DAX_PAGE_SHIFT);
	while (!ret && pos < end) {
		size_t asked = (size_t)(end - pos), n;
		struct dax_iomap iomap;

		ret = iomap_begin(mapping, pos, asked, DAX_IOMAP_REPORT, &iomap);
		if (ret)
			return ret;
		n = iomap_left(&iomap, pos, asked);
		ret = busy_extent(&iomap, pos, n, ret_index, ret_pfn);
		iomap_end(mapping, pos, asked, 0, DAX_IOMAP_REPORT, &iomap);
		pos += (dax_loff_t)n;
	}
	return ret;
}

/* ---- waiting ---------------------------------------------------------------- */

static int lock_mappings(const struct layout_range *a,
			 const struct layout_range *b)
{
	return b ? mapping_lock_two(a->mapping, b->mapping)
		 : mapping_lock_both(a->mapping);
}

static void unlock_ranges(const struct layout_range *a,
			  const struct layout_range *b)
{
	if (b)
		mapping_unlock_two(a->mapping, b->mapping);
	else
		mapping_unlock_both(a->mapping);
}

/* The file that is frozen, or NULL.  Locks held. */
static struct dax_mapping *frozen_of(const struct layout_range *a,
				     const struct layout_range *b)
{
	if (mapping_is_frozen(a->mapping))
		return a->mapping;
	return b && mapping_is_frozen(b->mapping) ? b->mapping : NULL;
}

/* What takes blocks away changes the file: it waits for a thaw, with no lock. */
static int lock_ranges(const struct layout_range *a, const struct layout_range *b)
{
	struct dax_mapping *frozen;
	int ret = lock_mappings(a, b);

	while (!ret && (frozen = frozen_of(a, b))) {
		unlock_ranges(a, b);
		ret = freeze_wait(frozen);
		if (!ret)
			ret = lock_mappings(a, b);
	}
	if (!ret) {	/* and knows which blocks are the file's */
		give_back_ahead_locked(a->mapping);
		if (b)
			give_back_ahead_locked(b->mapping);
	}
	return ret;
}

static int busy(const struct layout_range *a, const struct layout_range *b,
		dax_pgoff_t *ret_index)
{
	dax_pfn_t pfn;
	int ret = layout_busy_page_range(a, ret_index, &pfn);

	return ret || !b ? ret : layout_busy_page_range(b, ret_index, &pfn);
}

static int wait_for_unpin(uint32_t seen, dax_pgoff_t index)
{
	int ret = frames_wait(seen);

	return ret ? dax_error(ret, "interrupted while page %" PRIu64 " was pinned",
			       index) : 0;
}

/* One look.  1: it was busy and there was an unpin. */
static int lock_idle(const struct layout_range *a, const struct layout_range *b,
		     bool nowait)
{
	uint32_t seen = frames_wait_begin();
	dax_pgoff_t index = 0;
	int ret = lock_ranges(a, b);

	if (!ret) {
		ret = busy(a, b, &index);
		if (ret)
			unlock_ranges(a, b);
	}
	if (ret == 1 && nowait)
		ret = dax_error(-EBUSY, "page %" PRIu64 " is pinned", index);
	else if (ret == 1)
		ret = wait_for_unpin(seen, index) ? -EINTR : 1;
	frames_wait_end();
	return ret;
}

int break_layouts(const struct layout_range *a, const struct layout_range *b,
		  bool nowait)
{
	int ret;

	do {
		ret = lock_idle(a, b, nowait);
	} while (ret == 1);
	return ret;
}

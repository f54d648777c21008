/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * layout.h -- blocks that somebody has pinned are not taken away
 *
 * A layout is which blocks a file has where.  What frees blocks or lets others
 * share them breaks it, and waits first until no frame of the range is pinned.
 */
#ifndef DAXCORE_LAYOUT_H
#define DAXCORE_LAYOUT_H

#include "mapping.h"

struct layout_range {
	struct dax_mapping *mapping;
	dax_pgoff_t first, end;		/* pages, @end not included */
};

/*
 * Is a frame of the range pinned?  1 with its page and frame, 0, or what the
 * block map returned.  The block map is asked, not the tree: no entry is
 * locked that would have to be waited for, and a frame is found whether it has
 * an entry or not.
 *
 * Context: both locks exclusive: no fault and no new pin is on its way.
 * Kernel: dax_layout_busy_page_range().
 */
int layout_busy_page_range(const struct layout_range *range,
			   dax_pgoff_t *ret_index, dax_pfn_t *ret_pfn);

/*
 * Take both locks of one file, or of two (@b not NULL; may be the same file)
 * in the order of their addresses, when no frame of the ranges is pinned.
 * While one is, sleep with no lock held, then look again from the beginning;
 * with @nowait return -EBUSY instead.
 *
 * Return: 0 with the locks held; else none is: -EINTR (a signal handler ran),
 * -EBUSY, -EDEADLK, -ESTALE, -ENOMEM, or what a block map returned.
 * Kernel: dax_break_layout().
 */
int break_layouts(const struct layout_range *a, const struct layout_range *b,
		  bool nowait);

#endif

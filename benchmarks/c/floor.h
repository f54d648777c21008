/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * floor.h -- what no fault can avoid, and nothing else
 *
 * A radix tree of entry words and a page table, both 512-way and both as high
 * as the file needs, no higher.  One touch of a page: walk to the slot, lock
 * it by compare-and-swap, walk to the leaf, store the leaf word, store the
 * unlocked word.  Nodes and tables are allocated when first needed.  No
 * policy, no block map, no size check, no counter, no waiters: the distance
 * from here to the library is what its services cost.
 */
#ifndef FLOOR_H
#define FLOOR_H

#include <stddef.h>
#include <stdint.h>

#include "daxcore.h"	/* DAX_API */

struct floor;

/* For files of @nr_pages pages.  0 or -ENOMEM. */
DAX_API int floor_new(struct floor **ret_floor, uint64_t nr_pages);
DAX_API void floor_free(struct floor *fl);

/* Touch @nr pages in order, or those listed.  0, -ENOMEM, or -EBUSY if a page
 * was touched before. */
DAX_API int floor_fault_range(struct floor *fl, uint64_t pgoff, uint64_t nr);
DAX_API int floor_fault_many(struct floor *fl, const uint64_t *pgoffs,
			     size_t nr);

/*
 * What no truncate can avoid: every leaf and every slot is looked at and
 * emptied, nodes are freed, page tables stay.  ns of it.
 */
DAX_API uint64_t floor_clear(struct floor *fl);

#endif

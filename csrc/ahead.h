/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ahead.h -- blocks taken ahead of any store
 *
 *   HOLE --fault_around.c--> data, AHEAD --settled--> data, DIRTY   (stored to)
 *                            leaf writable       +--> HOLE          (still zero)
 *
 * A run of faults takes blocks for pages that nobody has stored to yet, and
 * their leaves are writable at once, so a store to one is not seen.  The tag
 * AHEAD says so.  It is settled before anything is said or done that depends on
 * which blocks the file has or which pages are dirty: then the bytes tell.
 */
#ifndef DAXCORE_AHEAD_H
#define DAXCORE_AHEAD_H

#include "entry_lock.h"

/* Of the slot's locked data entry: before its leaf becomes writable. */
static inline void dax_tag_ahead(struct dax_slot *slot)
{
	WRITE_ONCE(slot->mapping->ahead, true);
	radix_tree_tag_set(&slot->iter, DAX_PAGECACHE_TAG_AHEAD);
}

/*
 * Somebody was promised that a store to the page finds its block: if that was taken
 * ahead it is the file's from now on, and the page DIRTY.
 *
 * Context: invalidate_lock shared, no entry lock held; may sleep.
 */
void keep_ahead(struct dax_mapping *mapping, struct percpu_area *area,
		dax_pgoff_t pgoff);

/*
 * Settle the pages taken ahead that lie in a range: stored to, they become
 * DIRTY; else the block is given back and the page is a hole again.  What the
 * block map does not take back stays, DIRTY.
 *
 * Context: none of the file's locks but wb_lock; may sleep.
 * Return: 0; -EDEADLK, -ESTALE, -ENOMEM, with nothing or a part done.
 */
int mapping_settle_ahead(struct dax_mapping *mapping, dax_pgoff_t first,
			 dax_pgoff_t last);

/* All of the file. */
int mapping_give_back_ahead(struct dax_mapping *mapping);

/* The same.  Context: both locks exclusive. */
void give_back_ahead_locked(struct dax_mapping *mapping);

#endif

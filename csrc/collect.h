/* SPDX-License-Identifier: BSD-3-Clause */
/* collect.h -- entries that have outlived their use */
#ifndef DAXCORE_COLLECT_H
#define DAXCORE_COLLECT_H

#include "entry_lock.h"

/* Who locked the entry may leave it EMPTY: count it.  In the slot's thread. */
static inline void note_empty_entry(const struct dax_slot *slot)
{
	if (radix_tree_exceptional_entry(slot->iter.entry) &&
	    dax_is_empty_entry(slot->iter.entry))
		percpu_inc(slot->area, DAX_STAT_EMPTY_LEFT);
}

/* Remove the EMPTY entries if faults have left so many that it is worth a walk
 * of the tree.  Context: invalidate_lock exclusive. */
void collect_some(struct dax_mapping *mapping);

/* Remove them all; how many there were, or -EDEADLK, -ESTALE, -ENOMEM. */
int64_t mapping_collect(struct dax_mapping *mapping);

/*
 * Are the 4 KiB entries in the 2 MiB from page @base in the way of a 2 MiB zero
 * entry for nothing: 512 unlocked ZERO ones, or none but unlocked EMPTY ones?
 * Context: invalidate_lock shared: a guess; exclusive: it is so.
 */
bool can_promote(struct dax_mapping *mapping, dax_pgoff_t base);

/* Remove them, with their leaves, if that is still so.  Context: no lock of the
 * file held.  0, also if it was not so; -EDEADLK, -ESTALE, -ENOMEM. */
int promote(struct dax_mapping *mapping, dax_pgoff_t base);

#endif

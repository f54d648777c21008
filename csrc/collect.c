/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * collect.c -- entries that have outlived their use
 *
 *   EMPTY ones, left behind by faults that failed or made a private copy
 *   ZERO ones of 4 KiB, 512 side by side, where a 2 MiB fault is asked for
 *
 * Owns: nothing; it removes entries that stand for no block.
 * Locks: invalidate_lock exclusive: no entry is locked, nobody waits for one.
 * Kernel: none: EMPTY entries stay until truncate, and 4 KiB entries never
 *         become one of 2 MiB.
 */
#include "collect.h"

#include "policy.h"

/* Fewer are not worth a walk of the tree. */
enum { COLLECT_MIN = 512, COLLECT_FRACTION = 8 };

static void count_deleted(struct dax_mapping *mapping, const void *entry)
{
	struct percpu_area *area = this_percpu(&mapping->percpu);

	percpu_inc(area, DAX_STAT_ENTRY_DELETE);
	if (dax_is_empty_entry(entry))
		percpu_inc(area, DAX_STAT_EMPTY_COLLECTED);
}

static bool delete_empty(const struct radix_tree_iter *iter, void *arg)
{
	if (!radix_tree_exceptional_entry(iter->entry) ||
	    !dax_is_empty_entry(iter->entry))
		return false;
	count_deleted(arg, iter->entry);
	return true;
}

/* What is left was counted before now: invalidate_lock exclusive. */
static void collect_all(struct dax_mapping *mapping)
{
	mapping->empty_seen = percpu_sum(&mapping->percpu, DAX_STAT_EMPTY_LEFT);
	radix_tree_delete_range(&mapping->i_pages, 0,
				radix_tree_maxindex(&mapping->i_pages), delete_empty,
				mapping);
}

/* The count may be too high, some are used again; then the walk finds less, and
 * costs a constant per fault that failed all the same.  A thread that got no
 * memory for its counters leaves it to others. */
void collect_some(struct dax_mapping *mapping)
{
	uint64_t left = percpu_sum(&mapping->percpu, DAX_STAT_EMPTY_LEFT) -
			mapping->empty_seen;

	if (left > COLLECT_MIN && this_percpu(&mapping->percpu) &&
	    left > mapping_nrexceptional(mapping) / COLLECT_FRACTION)
		collect_all(mapping);
}

int64_t mapping_collect(struct dax_mapping *mapping)
{
	uint64_t before;
	int64_t nr;
	int ret = mapping_lock_exclusive(mapping);

	if (ret)
		return ret;
	before = mapping_nrexceptional(mapping);
	collect_all(mapping);
	nr = (int64_t)(before - mapping_nrexceptional(mapping));
	mapping_unlock_exclusive(mapping);
	return nr;
}

/* ---- promotion ------------------------------------------------------------------- */

static bool is_unlocked(const void *entry, bool zero)
{
	return radix_tree_exceptional_entry(entry) && !dax_is_locked(entry) &&
	       (zero ? dax_is_zero_entry(entry) : dax_is_empty_entry(entry));
}

/* Pages up to the first that is none of what the others are. */
bool can_promote(struct dax_mapping *mapping, dax_pgoff_t base)
{
	dax_pgoff_t last = base + DAX_PMD_NR_PAGES - 1;
	struct radix_tree_iter iter;
	dax_pgoff_t next = base;
	bool zero;

	if (mapping->policy->grab_page)
		return false;	/* its holes are pages */
	if (!radix_tree_next(&mapping->i_pages, next, last, &iter))
		return true;	/* an empty node */
	zero = is_unlocked(iter.entry, true);
	do {
		if (iter.order || !is_unlocked(iter.entry, zero) ||
		    (zero && iter.index != next))
			return false;
		next = iter.index + 1;
	} while (radix_tree_next(&mapping->i_pages, next, last, &iter));
	return !zero || next == last + 1;
}

static bool delete_any(const struct radix_tree_iter *iter, void *arg)
{
	count_deleted(arg, iter->entry);
	return true;
}

int promote(struct dax_mapping *mapping, dax_pgoff_t base)
{
	dax_pgoff_t last = base + DAX_PMD_NR_PAGES - 1;
	int ret = mapping_lock_exclusive(mapping);

	if (ret)
		return ret;
	if (can_promote(mapping, base)) {
		unmap_mapping_pages(mapping, base, last, false);
		radix_tree_delete_range(&mapping->i_pages, base, last, delete_any,
					mapping);
		percpu_inc(this_percpu(&mapping->percpu), DAX_STAT_PROMOTION);
	}
	mapping_unlock_exclusive(mapping);
	return 0;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ahead.c -- blocks taken ahead of any store: kept if stored to, or given back
 *
 * Owns: the tag AHEAD once it is set.
 * Locks: a page is kept with its entry locked.  It is given back with
 *        i_rwsem, then invalidate_lock, both exclusive, as for a punch: no
 *        entry is locked, no soft load or store, fault, read or pin on its way
 *        is inside.  A store by the CPU may be: its leaf goes before the page is
 *        said to be zero.
 * Kernel: none; the nearest is a file system's speculative preallocation, which
 *         is beyond the end of the file (xfs_free_eofblocks()).
 */
#include "ahead.h"

#include <errno.h>

#include "copy_mc.h"
#include "frames.h"
#include "iomap.h"
#include "move.h"

enum {
	SETTLE_PAGES = 4096,	/* while the locks are held, at most */
	LOOK_BYTES = 512	/* looked at together: most pages differ at once */
};

#define LAST_PAGE	(UINT64_MAX >> DAX_PAGE_SHIFT)

/* ---- was it stored to? --------------------------------------------------------- */

static bool page_is_zero(const char *kaddr)
{
	char buf[LOOK_BYTES];

	for (size_t i = 0; i < DAX_PAGE_SIZE; i += LOOK_BYTES)
		if (copy_mc(buf, kaddr + i, LOOK_BYTES) || !mem_is_zero(buf, LOOK_BYTES))
			return false;
	return true;
}

/* DIRTY: by a fault of its own, later.  Pinned: somebody looks at the frame. */
static bool is_untouched(const struct radix_tree_iter *iter)
{
	dax_pfn_t pfn = dax_radix_pfn(iter->entry);

	return !radix_tree_tag_get(iter, DAX_PAGECACHE_TAG_DIRTY) &&
	       !pfn_is_pinned(pfn) && page_is_zero(pfn_to_kaddr(pfn));
}

/* ---- settling (both locks exclusive) --------------------------------------------- */

static void keep(const struct radix_tree_iter *iter)
{
	radix_tree_tag_set(iter, DAX_PAGECACHE_TAG_DIRTY);
	radix_tree_tag_clear(iter, DAX_PAGECACHE_TAG_TOWRITE);
	radix_tree_tag_clear(iter, DAX_PAGECACHE_TAG_AHEAD);
}

static bool is_ahead(const struct dax_slot *slot, const void *unused)
{
	(void)unused;
	return slot->iter.entry && radix_tree_exceptional_entry(slot->iter.entry) &&
	       radix_tree_tag_get(&slot->iter, DAX_PAGECACHE_TAG_AHEAD);
}

void keep_ahead(struct dax_mapping *mapping, struct percpu_area *area,
		dax_pgoff_t pgoff)
{
	struct dax_slot slot;

	dax_slot_init(&slot, mapping, area, pgoff);
	if (!lock_slot_if(&slot, is_ahead, NULL))
		return;
	keep(&slot.iter);
	put_locked_mapping_entry(&slot);
}

/* The next page taken ahead at or after *@at, which moves behind it. */
static bool next_ahead(struct dax_mapping *mapping, dax_pgoff_t *at,
		       dax_pgoff_t last, struct radix_tree_iter *iter)
{
	if (*at > last ||
	    !radix_tree_next_tagged(&mapping->i_pages, *at, last,
				    DAX_PAGECACHE_TAG_AHEAD, iter))
		return false;
	*at = iter->index + 1;
	return true;
}

/* Neighbours that have the same fate. */
struct ahead_run {
	dax_pgoff_t first;
	dax_pgoff_t nr;
};

typedef void (*ahead_run_fn)(struct dax_mapping *mapping,
			     const struct ahead_run *run);

static void run_end(struct dax_mapping *mapping, struct ahead_run *run,
		    ahead_run_fn fn)
{
	if (run->nr)
		fn(mapping, run);
	run->nr = 0;
}

static void run_add(struct dax_mapping *mapping, struct ahead_run *run,
		    dax_pgoff_t page, ahead_run_fn fn)
{
	if (page != run->first + run->nr)
		run_end(mapping, run, fn);
	if (!run->nr)
		run->first = page;
	run->nr++;
}

/* Keep what was stored to; @fn gets what seems not to have been. */
static dax_pgoff_t for_untouched(struct dax_mapping *mapping, dax_pgoff_t first,
				 dax_pgoff_t last, ahead_run_fn fn)
{
	struct ahead_run run = { .nr = 0 };
	struct radix_tree_iter iter;
	dax_pgoff_t at = first;

	for (int i = 0; i < SETTLE_PAGES && next_ahead(mapping, &at, last, &iter); i++) {
		if (is_untouched(&iter))
			run_add(mapping, &run, iter.index, fn);
		else
			keep(&iter);
	}
	run_end(mapping, &run, fn);
	return at;
}

static void unmap_run(struct dax_mapping *mapping, const struct ahead_run *run)
{
	unmap_mapping_pages(mapping, run->first, run->first + run->nr - 1, false);
}

static bool delete_entry(const struct radix_tree_iter *iter, void *arg)
{
	struct dax_mapping *mapping = arg;

	(void)iter;
	percpu_inc(this_percpu(&mapping->percpu), DAX_STAT_ENTRY_DELETE);
	percpu_inc(this_percpu(&mapping->percpu), DAX_STAT_AHEAD_GIVEN_BACK);
	return true;
}

/* The bytes of the file are right either way: a failure costs room only. */
static void give_back_run(struct dax_mapping *mapping, const struct ahead_run *run)
{
	dax_pgoff_t at = run->first, last = run->first + run->nr - 1;
	struct radix_tree_iter iter;
	int ret = iomap_result(mapping->ops->punch(
		mapping, mapping->private_data,
		(dax_loff_t)(run->first << DAX_PAGE_SHIFT), run->nr << DAX_PAGE_SHIFT));

	if (!ret) {
		radix_tree_delete_range(&mapping->i_pages, run->first, last,
					delete_entry, mapping);
		return;
	}
	while (next_ahead(mapping, &at, last, &iter))
		keep(&iter);
}

/* Up to SETTLE_PAGES of a range.  Return: where to go on. */
static dax_pgoff_t settle_some(struct dax_mapping *mapping, dax_pgoff_t first,
			       dax_pgoff_t last)
{
	dax_pgoff_t behind = for_untouched(mapping, first, last, unmap_run);

	dax_test_yield(DAX_TEST_AHEAD_UNMAPPED);
	if (behind > first)
		for_untouched(mapping, first, behind - 1, give_back_run);
	return behind;
}

/* The last of a range has been settled. */
static void settled(struct dax_mapping *mapping, dax_pgoff_t first,
		    dax_pgoff_t last)
{
	radix_tree_settle_tags(&mapping->i_pages, first, last,
			       DAX_PAGECACHE_TAG_AHEAD);
	if (!radix_tree_tagged(&mapping->i_pages, DAX_PAGECACHE_TAG_AHEAD))
		WRITE_ONCE(mapping->ahead, false);
}

static bool is_done(struct dax_mapping *mapping, dax_pgoff_t next, dax_pgoff_t last)
{
	struct radix_tree_iter iter;

	return !next_ahead(mapping, &next, last, &iter);
}

void give_back_ahead_locked(struct dax_mapping *mapping)
{
	dax_pgoff_t next = 0;

	if (!mapping_has_ahead(mapping))
		return;
	while (!is_done(mapping, next, LAST_PAGE))
		next = settle_some(mapping, next, LAST_PAGE);
	settled(mapping, 0, LAST_PAGE);
}

/* ---- the calls ---------------------------------------------------------------------- */

/* Others come in between; the search goes up and never back. */
int mapping_settle_ahead(struct dax_mapping *mapping, dax_pgoff_t first,
			 dax_pgoff_t last)
{
	dax_pgoff_t next = first;
	bool done = false;

	while (!done && mapping_has_ahead(mapping)) {
		int ret = mapping_lock_both(mapping);

		if (ret)
			return ret;
		next = settle_some(mapping, next, last);
		done = is_done(mapping, next, last);
		if (done)
			settled(mapping, first, last);
		mapping_unlock_both(mapping);
	}
	return 0;
}

int mapping_give_back_ahead(struct dax_mapping *mapping)
{
	return mapping_settle_ahead(mapping, 0, LAST_PAGE);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * entry_lock.c -- lock, wait for and release DAX entries
 *
 * Owns: the DAX_LOCKED bit of every entry.
 * Locks: caller holds mapping->invalidate_lock, shared or exclusive.  Nobody
 *        sleeps holding an entry lock it does not need, and nobody waits for
 *        a second one.
 * Kernel: fs/dax.c, get_unlocked_mapping_entry() and friends (v4.14).
 * Differs: the bit is taken by compare-and-swap on the slot, there is no tree
 *          lock.  Delete and downgrade wake all, and a woken thread that does
 *          not lock passes the wake-up on even when the entry is gone: the
 *          kernel's v4.14 does neither and loses wake-ups.  A waiter spins
 *          first; an unlock costs a store and a load (sys.h, asym_barrier).
 */
#include "entry_lock.h"

#include <errno.h>
#include <inttypes.h>

#include "errormsg.h"
#include "frames.h"
#include "policy.h"

/* About two microseconds of cpu_relax(); waking another CPU costs 20 to 60. */
enum { SPIN_ROUNDS = 64, SPIN_MAX_PAUSE = 16 };

/* ---- waiting ------------------------------------------------------------- */

static bool still_locked(const struct radix_tree_iter *iter)
{
	void *entry = smp_load_acquire(iter->slot);

	return radix_tree_exceptional_entry(entry) && dax_is_locked(entry);
}

/* Spin for as long as going to sleep and being woken would take at least. */
static bool spin_while_locked(const struct radix_tree_iter *iter)
{
	int pause = 1;

	for (int i = 0; i < SPIN_ROUNDS && !dax_test_no_spin(); i++) {
		if (!still_locked(iter))
			return false;
		for (int j = 0; j < pause; j++)
			cpu_relax();
		if (pause < SPIN_MAX_PAUSE)
			pause *= 2;
	}
	return true;
}

static struct exceptional_entry_key wait_key(const struct dax_slot *slot)
{
	struct exceptional_entry_key key =
		dax_entry_key(slot->mapping, &slot->iter);

	if (dax_test_mutated(DAX_MUTATE_KEY_NOT_ROUNDED))
		key.entry_start = slot->index;
	return key;
}

/*
 * Queue, announce, look once more, sleep.  The heavy barrier pairs with the
 * light one between the unlocker's store and its look at nr_waiters: either
 * it sees us or we see the entry unlocked.
 */
static void sleep_while_locked(struct dax_slot *slot)
{
	struct dax_mapping *mapping = slot->mapping;
	struct wait_entry wait;

	percpu_inc(slot->area, DAX_STAT_ENTRY_WAIT);
	prepare_to_wait_exclusive(&wait, wait_key(slot));
	atomic_fetch_add(&mapping->nr_waiters, 1);
	asym_barrier_heavy();
	if (dax_test_mutated(DAX_MUTATE_NO_RECHECK) || still_locked(&slot->iter)) {
		dax_test_yield(DAX_TEST_BEFORE_SLEEP);
		wait_schedule(&wait);
		dax_test_yield(DAX_TEST_WOKEN);
	}
	if (finish_wait(&wait))
		slot->woken = true;
	atomic_fetch_sub(&mapping->nr_waiters, 1);
}

static void pass_on(struct dax_slot *slot)
{
	if (likely(!slot->woken) || dax_test_mutated(DAX_MUTATE_NO_PASS_ON))
		return;
	slot->woken = false;
	wake_up_key(slot->key, WAKE_NEXT);
}

/* A wake-up spent on us counts for one key: before waiting on another it is
 * passed on. */
static __cold void wait_entry_unlocked(struct dax_slot *slot)
{
	struct exceptional_entry_key key = wait_key(slot);

	if (slot->woken && slot->key.entry_start != key.entry_start)
		pass_on(slot);
	slot->key = key;
	if (spin_while_locked(&slot->iter))
		sleep_while_locked(slot);
}

/* ---- taking and releasing -------------------------------------------------- */

/* The lock is ours.  Our own unlock wakes the next of its key; a wake-up for
 * another key is not ours to keep. */
static void locked(struct dax_slot *slot)
{
	if (unlikely(slot->woken)) {
		if (slot->key.entry_start != slot->iter.index)
			pass_on(slot);
		slot->woken = false;
	}
}

bool lock_slot(struct dax_slot *slot)
{
	if (!radix_tree_exceptional_entry(slot->iter.entry)) {
		if (slot->mapping->policy->grab_page(slot))
			return false;
	} else if (!cmpxchg_lock(&slot->iter)) {
		return false;
	}
	locked(slot);
	return true;
}

void put_locked_page(struct dax_slot *slot)
{
	slot->mapping->policy->put_page(slot);
}

void put_unlocked_mapping_entry(struct dax_slot *slot)
{
	pass_on(slot);
}

/* In this order: no entry is TOWRITE that is not DIRTY. */
static void clear_tags(const struct radix_tree_iter *iter)
{
	radix_tree_tag_clear(iter, DAX_PAGECACHE_TAG_TOWRITE);
	radix_tree_tag_clear(iter, DAX_PAGECACHE_TAG_DIRTY);
	radix_tree_tag_clear(iter, DAX_PAGECACHE_TAG_AHEAD);
}

void dax_delete_locked_entry(struct dax_slot *slot)
{
	enum dax_wake_mode mode = WAKE_ALL;

	if (dax_test_mutated(DAX_MUTATE_WAKE_ONE_ON_DELETE))
		mode = WAKE_NEXT;
	clear_tags(&slot->iter);
	if (radix_tree_exceptional_entry(slot->iter.entry)) {
		smp_store_release(slot->iter.slot, NULL);
		percpu_inc(slot->area, DAX_STAT_ENTRY_DELETE);
	} else {
		slot->mapping->policy->delete_page(slot);
	}
	dax_wake_mapping_entry_waiter(slot->mapping, &slot->iter, mode);
}

void *get_unlocked_mapping_entry(struct dax_slot *slot)
{
	for (;;) {
		radix_tree_walk(&slot->mapping->i_pages, slot->index, 0,
				&slot->iter);
		if (!slot->iter.entry ||
		    !radix_tree_exceptional_entry(slot->iter.entry) ||
		    !dax_is_locked(slot->iter.entry))
			return slot->iter.entry;
		wait_entry_unlocked(slot);
	}
}

static void *empty_entry(unsigned int order)
{
	return dax_radix_locked_entry(0, DAX_EMPTY | (order ? DAX_PMD : 0));
}

void dax_flush_rest(struct dax_slot *slot)
{
	dax_pfn_t pfn = dax_radix_pfn(slot->iter.entry);
	struct dax_device *dev = pfn_device(pfn);
	int ret;

	if (!slot->iter.order ||
	    !radix_tree_tag_get(&slot->iter, DAX_PAGECACHE_TAG_DIRTY) ||
	    !smp_load_acquire(&dev->alive))
		return;
	ret = dev->persist->flush(dev, pfn_to_kaddr(pfn), DAX_PMD_SIZE);
	dev->persist->fence(dev);
	if (ret)
		mapping_set_error(slot->mapping, ret);
}

void dax_forget_block(struct dax_slot *slot)
{
	unmap_mapping_pages(slot->mapping, slot->iter.index,
			    radix_tree_iter_last(&slot->iter), false);
	percpu_synchronize(&slot->mapping->percpu);
	dax_test_yield(DAX_TEST_UNMAP_REPLACE);
	dax_flush_rest(slot);
	clear_tags(&slot->iter);
	dax_replace_entry(slot, empty_entry(slot->iter.order));
}

/* ---- grab -------------------------------------------------------------------- */

/* What one look at the tree came to. */
enum { GRAB_AGAIN = 1 };

static int grab_absent(struct dax_slot *slot, unsigned int order)
{
	int ret = radix_tree_insert(&slot->mapping->i_pages, slot->index, order,
				    empty_entry(order), &slot->iter);

	if (ret == -EEXIST)
		return GRAB_AGAIN;
	if (unlikely(ret))
		return dax_error(ret, "no memory for a tree node of page %" PRIu64,
				 slot->index);
	percpu_inc(slot->area, DAX_STAT_ENTRY_INSERT);
	return 0;
}

/* ---- the entry of 2 MiB gives way ---------------------------------------------- */

/* What becomes of a zero entry: ZERO for every page, locked for one of them. */
struct zero_split {
	struct radix_tree_iter old;
	dax_pgoff_t index;
};

static void *zero_word(const struct radix_tree_iter *old, dax_pgoff_t index)
{
	const struct zero_split *split = container_of(old, const struct zero_split, old);
	void *locked = dax_radix_locked_entry(0, DAX_ZERO_PAGE);

	return index == split->index ? locked : dax_unlock_word(locked);
}

/* Real mappings show 2 MiB of zeroes that cost time to insert: the leaves of
 * the other pages stay. */
static int split_zero_entry(struct dax_slot *slot)
{
	struct dax_mapping *mapping = slot->mapping;
	struct zero_split split = { .old = slot->iter, .index = slot->index };
	struct radix_tree_node *top;

	top = radix_tree_split_range_prepare(&mapping->i_pages, &split.old, UINT64_MAX,
					     0, zero_word);
	if (!top)
		return dax_error(-ENOMEM, "no memory for a tree node of page %" PRIu64,
				 slot->index);
	split_zero_leaves(mapping, slot->index);
	dax_test_yield(DAX_TEST_DOWNGRADE);
	radix_tree_split_range_publish(&split.old, top);
	percpu_inc(slot->area, DAX_STAT_DOWNGRADE);
	percpu_add(slot->area, DAX_STAT_ENTRY_INSERT, DAX_PMD_NR_PAGES - 1);
	dax_wake_mapping_entry_waiter(mapping, &split.old, WAKE_ALL);
	radix_tree_walk(&mapping->i_pages, slot->index, 0, &slot->iter);
	return 0;
}

/*
 * A locked PMD entry without storage gives way to one 4 KiB EMPTY entry at
 * slot->index.  The order is the contract: zero leaves go first, while all
 * others wait for the PMD entry's lock; then one store publishes the new node
 * with the new, locked entry inside; then everybody who waits for the PMD
 * entry is told, since it is gone.
 */
int dax_downgrade_entry(struct dax_slot *slot)
{
	struct dax_mapping *mapping = slot->mapping;
	struct radix_tree_iter old = slot->iter;
	enum dax_wake_mode mode = WAKE_ALL;
	void *chain;
	int ret;

	if (unlikely(READ_ONCE(mapping->nr_real)) && dax_is_zero_entry(old.entry))
		return split_zero_entry(slot);
	if (dax_is_zero_entry(old.entry))
		unmap_mapping_pages(mapping, old.index,
				    old.index + DAX_PMD_NR_PAGES - 1, false);
	ret = radix_tree_split_prepare(&mapping->i_pages, &old, slot->index,
				       empty_entry(0), &slot->iter, &chain);
	if (ret) {
		slot->iter = old;
		return dax_error(ret, "no memory for a tree node of page %" PRIu64,
				 slot->index);
	}
	dax_test_yield(DAX_TEST_DOWNGRADE);
	radix_tree_split_publish(&old, chain);
	percpu_inc(slot->area, DAX_STAT_DOWNGRADE);
	if (dax_test_mutated(DAX_MUTATE_WAKE_ONE_ON_DOWNGRADE))
		mode = WAKE_NEXT;
	dax_wake_mapping_entry_waiter(mapping, &old, mode);
	return 0;
}

static int grab_entry(struct dax_slot *slot, unsigned int order)
{
	if (dax_is_locked(slot->iter.entry)) {
		wait_entry_unlocked(slot);
		return GRAB_AGAIN;
	}
	if (!cmpxchg_lock(&slot->iter))
		return GRAB_AGAIN;
	if (slot->iter.order > order && !dax_is_data_entry(slot->iter.entry)) {
		int ret = dax_downgrade_entry(slot);

		if (ret)
			put_locked_mapping_entry(slot);
		return ret;
	}
	return 0;
}

static int grab_page(struct dax_slot *slot)
{
	if (!slot->mapping->policy->grab_page)
		return dax_error(-EIO, "a page pointer stands in the tree at page %"
				 PRIu64, slot->index);
	return slot->mapping->policy->grab_page(slot) ? GRAB_AGAIN : 0;
}

static int grab_once(struct dax_slot *slot, unsigned int order)
{
	void *entry;

	radix_tree_walk(&slot->mapping->i_pages, slot->index, order, &slot->iter);
	entry = slot->iter.entry;
	if (likely(!entry))
		return grab_absent(slot, order);
	if (radix_tree_exceptional_entry(entry))
		return grab_entry(slot, order);
	if (radix_tree_is_internal_node(entry))
		return -EEXIST;
	return grab_page(slot);
}

int grab_mapping_entry_slow(struct dax_slot *slot, unsigned int order)
{
	int ret;

	do {
		ret = grab_once(slot, order);
	} while (unlikely(ret == GRAB_AGAIN));
	if (likely(!ret))
		locked(slot);
	else
		put_unlocked_mapping_entry(slot);
	return ret;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * entry_lock.h -- lock, wait for and release DAX entries
 *
 * A dax_slot is the handle of one entry a thread works on: where it stands,
 * the word that is there, and the key the thread was last woken for.  It is
 * valid while the caller holds the file's invalidate_lock.
 */
#ifndef DAXCORE_ENTRY_LOCK_H
#define DAXCORE_ENTRY_LOCK_H

#include "entry.h"
#include "mapping.h"
#include "radix_tree.h"
#include "waitqueue.h"

struct dax_slot {
	struct dax_mapping *mapping;
	struct percpu_area *area;
	dax_pgoff_t index;		/* page asked for */
	struct radix_tree_iter iter;	/* place; iter.entry: word in the tree */
	bool woken;			/* a wake-up for `key` may be ours to pass on */
	struct exceptional_entry_key key;
};

static inline void dax_slot_init(struct dax_slot *slot,
				 struct dax_mapping *mapping,
				 struct percpu_area *area, dax_pgoff_t index)
{
	slot->mapping = mapping;
	slot->area = area;
	slot->index = index;
	slot->woken = false;
}

/*
 * Lock the entry of a page, making an EMPTY one where there is none.
 * @order: 0 or DAX_PMD_ORDER.  A 4 KiB request gets a PMD entry that has
 * storage as it is, and turns one that is zero or empty into 4 KiB.  A 2 MiB
 * request never waits for 4 KiB entries.
 *
 * 0: locked, slot->iter.entry is the locked word (or a page the policy has
 * grabbed).  -EEXIST: 4 KiB entries stand in the 2 MiB.  -ENOMEM.  -EIO: a
 * word that does not belong into the tree.  On an error nothing is locked and
 * a wake-up received on the way is passed on.
 *
 * Kernel: grab_mapping_entry() (v4.14); the refusal to wait: v5.3.
 */
int grab_mapping_entry_slow(struct dax_slot *slot, unsigned int order);

/* The ordinary case, inline: nothing is there, in a node that is. */
static __always_inline_fn int grab_mapping_entry(struct dax_slot *slot,
						 unsigned int order)
{
	struct radix_tree_iter *iter = &slot->iter;
	void *entry = dax_radix_locked_entry(0, order ? DAX_EMPTY | DAX_PMD
						      : DAX_EMPTY);
	void *none = NULL;

	if (unlikely(!radix_tree_walk(&slot->mapping->i_pages, slot->index,
				      order, iter) ||
		     iter->entry || iter->order != order))
		return grab_mapping_entry_slow(slot, order);
	if (unlikely(!atomic_compare_exchange_strong_explicit(
		    iter->slot, &none, entry, memory_order_acquire,
		    memory_order_relaxed)))
		return grab_mapping_entry_slow(slot, order);
	iter->entry = entry;
	percpu_inc(slot->area, DAX_STAT_ENTRY_INSERT);
	return 0;
}

/*
 * Wait until what stands at slot->index is absent or unlocked.  Returns the
 * word (NULL: nothing), not locked: the caller locks it with lock_slot() or
 * calls put_unlocked_mapping_entry(), nothing else.  See lock_slot_if().
 */
void *get_unlocked_mapping_entry(struct dax_slot *slot);

/* Lock what get_unlocked_mapping_entry() found; false: somebody was quicker,
 * get it again. */
bool lock_slot(struct dax_slot *slot);

/* Lock the entry whose word was read as iter->entry; false: the word is
 * another by now. */
static inline bool cmpxchg_lock(struct radix_tree_iter *iter)
{
	void *old = iter->entry;
	void *locked = dax_lock_word(old);

	if (!atomic_compare_exchange_strong_explicit(iter->slot, &old, locked,
						     memory_order_acquire,
						     memory_order_relaxed))
		return false;
	iter->entry = locked;
	return true;
}

/* Release a locked entry (or grabbed page) and wake one. */
static inline void put_locked_mapping_entry(struct dax_slot *slot);

/* Its out-of-line half: a grabbed page. */
void put_locked_page(struct dax_slot *slot);

/* Done without locking: pass a wake-up on. */
void put_unlocked_mapping_entry(struct dax_slot *slot);

/*
 * Wait for what stands at slot->index and lock it, if @wanted says so of it
 * (slot->iter.entry, NULL: nothing).  false: it did not, nothing is locked, and
 * slot->iter.entry is what was refused.
 */
static inline bool lock_slot_if(struct dax_slot *slot,
				bool (*wanted)(const struct dax_slot *slot,
					       const void *arg),
				const void *arg)
{
	do {
		get_unlocked_mapping_entry(slot);
		if (!wanted(slot, arg)) {
			put_unlocked_mapping_entry(slot);
			return false;
		}
	} while (!lock_slot(slot));
	return true;
}

/* First frame of the 2 MiB entry of blocks that has the page; 0: there is no such
 * entry.  It may be another by now if it is not locked. */
static inline dax_pfn_t dax_pmd_pfn(struct dax_mapping *mapping, dax_pgoff_t pgoff)
{
	struct radix_tree_iter iter;

	if (!radix_tree_walk(&mapping->i_pages, pgoff, 0, &iter) || !iter.order ||
	    !iter.entry || !dax_is_data_entry(iter.entry))
		return 0;
	return dax_radix_pfn(iter.entry);
}

/* The locked entry gets another word (locked too): same size, same place. */
static inline void dax_replace_entry(struct dax_slot *slot, void *entry)
{
	smp_store_release(slot->iter.slot, entry);
	slot->iter.entry = entry;
}

/* The locked entry's bytes are about to be stored to; what a writeback flushed
 * of it before is not all any more. */
static inline void dax_tag_dirty(struct dax_slot *slot)
{
	radix_tree_tag_set(&slot->iter, DAX_PAGECACHE_TAG_DIRTY);
	radix_tree_tag_clear(&slot->iter, DAX_PAGECACHE_TAG_TOWRITE);
}

/*
 * The file has left a block of a locked data entry, whose leaves are gone.  If it
 * is a DIRTY one of 2 MiB the file may have kept the others, and the tag that
 * goes with the entry was of those too: they are flushed.  The next fsync syncs
 * their device, as it always does, or tells of the failure.
 */
void dax_flush_rest(struct dax_slot *slot);

/* The locked entry goes: empty its slot and wake everybody. */
void dax_delete_locked_entry(struct dax_slot *slot);

/*
 * The locked data entry shows a block that the file has left: its leaves go,
 * and whoever is inside by one of them leaves; what else is dirty of it is
 * flushed; then it becomes EMPTY, locked as before, of the same size, with no
 * tags.
 */
void dax_forget_block(struct dax_slot *slot);

/*
 * The locked PMD entry, zero or empty, gives way to one EMPTY entry of 4 KiB at
 * slot->index, locked; the rest of its pages become absent.  With real mappings
 * a zero one gives way to 512 ZERO entries, that of slot->index locked.
 * 0, or -ENOMEM: it is there and locked as before.
 */
int dax_downgrade_entry(struct dax_slot *slot);

/* Key of an entry: PMD entries have one for all their pages. */
static inline struct exceptional_entry_key
dax_entry_key(const struct dax_mapping *mapping,
	      const struct radix_tree_iter *iter)
{
	return (struct exceptional_entry_key){
		.owner = mapping, .entry_start = iter->index,
	};
}

/* Wake those who wait for the entry at @iter; follows the store that they
 * wait for. */
static inline void
dax_wake_mapping_entry_waiter(struct dax_mapping *mapping,
			      const struct radix_tree_iter *iter,
			      enum dax_wake_mode mode)
{
	asym_barrier_light();
	if (unlikely(READ_ONCE(mapping->nr_waiters)))
		wake_up_key(dax_entry_key(mapping, iter), mode);
}

/* The same for an entry that is known to be no page. */
static inline void unlock_slot(struct dax_mapping *mapping,
					const struct radix_tree_iter *iter)
{
	smp_store_release(iter->slot, dax_unlock_word(iter->entry));
	dax_wake_mapping_entry_waiter(mapping, iter, WAKE_NEXT);
}

static inline void put_locked_mapping_entry(struct dax_slot *slot)
{
	dax_test_yield(DAX_TEST_BEFORE_UNLOCK);
	if (unlikely(!radix_tree_exceptional_entry(slot->iter.entry))) {
		put_locked_page(slot);
		return;
	}
	unlock_slot(slot->mapping, &slot->iter);
}

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * writeback.c -- make dirty entries durable
 *
 *   DIRTY --lock, protect, flush--> TOWRITE|DIRTY --sync--> clean
 *     ^                                   |  |
 *     +------------ store ----------------+  +--error--> DIRTY
 *
 * Where a flushed line is durable at the fence (persistent memory) the middle
 * state is passed under the entry's lock and not seen.
 *
 * Owns: both tags of data entries, mapping->wb_err.
 * Locks: wb_lock, so that tags fall for one reason at a time; invalidate_lock
 *        shared, dropped between batches; a run of entry locks taken in
 *        ascending order, the first by waiting, the others by trying.  None but
 *        wb_lock is held while a medium is synced.
 * Kernel: fs/dax.c, dax_writeback_mapping_range(), dax_writeback_one() (v4.14);
 *         errseq_t for the report of errors.
 * Differs: both tags fall together, after the flush; the kernel lets TOWRITE
 *          fall before, and a second fsync may return too early.  No entry is
 *          selected beforehand: the search goes up and never back, so it ends
 *          however fast entries become dirty again.  A failed sync leaves the
 *          entries DIRTY.
 */
#include "writeback.h"

#include <errno.h>
#include <inttypes.h>

#include "entry_lock.h"
#include "errormsg.h"
#include "frames.h"
#include "iomap.h"

/* Entries held at a time, for one grace period and one fence. */
enum { WRITEBACK_BATCH = 256 };

struct batch {
	unsigned int nr;
	struct radix_tree_iter iter[WRITEBACK_BATCH];	/* locked, DIRTY, data */
};

struct writeback {
	struct dax_mapping *mapping;
	struct percpu_area *area;
	dax_pgoff_t next;	/* where the search goes on */
	dax_pgoff_t last;
	bool done;		/* nothing is left up to last */
	bool exclusive;		/* nobody else is there, nothing is synced */
	uint64_t written;
	struct batch batch;
};

static dax_pgoff_t entry_last(const struct radix_tree_iter *iter)
{
	return iter->index + (((dax_pgoff_t)1 << iter->order) - 1);
}

/* ---- a batch of locked entries ---------------------------------------------------- */

/* Is the locked entry at @slot one to write back? */
static bool is_dirty_data(const struct dax_slot *slot)
{
	return radix_tree_tag_get(&slot->iter, DAX_PAGECACHE_TAG_DIRTY) &&
	       radix_tree_exceptional_entry(slot->iter.entry) &&
	       dax_is_data_entry(slot->iter.entry);
}

/* Wait for the entry and lock it; false: it is gone. */
static bool lock_waiting(struct dax_slot *slot)
{
	do {
		if (!get_unlocked_mapping_entry(slot) ||
		    !radix_tree_exceptional_entry(slot->iter.entry)) {
			put_unlocked_mapping_entry(slot);
			return false;
		}
	} while (!lock_slot(slot));
	return true;
}

static bool lock_trying(struct dax_slot *slot)
{
	return radix_tree_exceptional_entry(slot->iter.entry) &&
	       !dax_is_locked(slot->iter.entry) && lock_slot(slot);
}

/* Take what the search found into the batch.  false: the batch ends here. */
static bool batch_add(struct writeback *wb, const struct radix_tree_iter *found)
{
	struct batch *batch = &wb->batch;
	struct dax_slot slot;

	dax_slot_init(&slot, wb->mapping, wb->area, found->index);
	slot.iter = *found;
	percpu_inc(wb->area, DAX_STAT_WRITEBACK_VISIT);
	if (!lock_trying(&slot)) {
		if (batch->nr)
			return false;	/* who waits holds no other entry */
		if (!lock_waiting(&slot)) {
			wb->next = entry_last(found) + 1;
			return true;
		}
	}
	wb->next = entry_last(&slot.iter) + 1;
	if (is_dirty_data(&slot))
		batch->iter[batch->nr++] = slot.iter;
	else	/* another writeback flushed it, and we waited for that */
		put_locked_mapping_entry(&slot);
	return true;
}

static void batch_fill(struct writeback *wb)
{
	struct radix_tree_iter found;

	wb->batch.nr = 0;
	while (wb->batch.nr < WRITEBACK_BATCH) {
		if (wb->next > wb->last ||
		    !radix_tree_next_tagged(&wb->mapping->i_pages, wb->next, wb->last,
					    DAX_PAGECACHE_TAG_DIRTY, &found)) {
			wb->done = true;
			return;
		}
		if (!batch_add(wb, &found))
			return;
	}
}

static bool protect_entry(struct dax_mapping *mapping,
			  const struct radix_tree_iter *iter)
{
	if (dax_test_mutated(DAX_MUTATE_NO_MKCLEAN))
		return false;
	if (dax_test_mutated(DAX_MUTATE_MKCLEAN_ONE_PAGE))
		return mkclean_mapping_pages(mapping, iter->index, iter->index);
	return mkclean_mapping_pages(mapping, iter->index, entry_last(iter));
}

/* From here on the next store to any page of the batch is a fault, which waits
 * for the entry; stores that were under way have come to their end. */
static void batch_protect(struct writeback *wb)
{
	bool changed = false;

	dax_test_yield(DAX_TEST_WRITEBACK_LOCKED);
	for (unsigned int i = 0; i < wb->batch.nr; i++)
		changed |= protect_entry(wb->mapping, &wb->batch.iter[i]);
	if (changed && !dax_test_mutated(DAX_MUTATE_NO_GRACE))
		percpu_synchronize(&wb->mapping->percpu);
	dax_test_yield(DAX_TEST_WRITEBACK_PROTECTED);
}

static struct dax_device *entry_device(const struct radix_tree_iter *iter)
{
	return pfn_device(dax_radix_pfn(iter->entry));
}

static int flush_entry(struct dax_device *dev, const struct radix_tree_iter *iter)
{
	if (unlikely(!smp_load_acquire(&dev->alive)))
		return dax_error(-ENXIO, "%s: the device is dead", dev->path);
	dev->persist->flush(dev, pfn_to_kaddr(dax_radix_pfn(iter->entry)),
			    (size_t)DAX_PAGE_SIZE << iter->order);
	return 0;
}

static void tag_clean(struct radix_tree_iter *iter)
{
	radix_tree_tag_clear(iter, DAX_PAGECACHE_TAG_TOWRITE);
	radix_tree_tag_clear(iter, DAX_PAGECACHE_TAG_DIRTY);
}

/* Flush, and one fence for a run of entries of one device. */
static int batch_flush(struct writeback *wb)
{
	struct dax_device *dev = NULL;
	int ret = 0;

	for (unsigned int i = 0; !ret && i < wb->batch.nr; i++) {
		struct radix_tree_iter *iter = &wb->batch.iter[i];

		if (dax_test_mutated(DAX_MUTATE_CLEAN_FIRST))
			tag_clean(iter);
		if (dev && dev != entry_device(iter))
			dev->persist->fence(dev);
		dev = entry_device(iter);
		ret = flush_entry(dev, iter);
	}
	if (dev)
		dev->persist->fence(dev);
	dax_test_yield(DAX_TEST_WRITEBACK_FLUSHED);
	return ret;
}

/* Flushed: clean at once, or when the device has been synced. */
static void tag_flushed(struct writeback *wb, struct radix_tree_iter *iter)
{
	wb->written++;
	percpu_inc(wb->area, DAX_STAT_WRITEBACK_ONE);
	if (wb->exclusive || entry_device(iter)->persist->durable_at_fence)
		tag_clean(iter);
	else
		radix_tree_tag_set(iter, DAX_PAGECACHE_TAG_TOWRITE);
}

static void batch_release(struct writeback *wb, bool flushed)
{
	for (unsigned int i = 0; i < wb->batch.nr; i++) {
		struct dax_slot slot;

		if (flushed)
			tag_flushed(wb, &wb->batch.iter[i]);
		dax_slot_init(&slot, wb->mapping, wb->area, wb->batch.iter[i].index);
		slot.iter = wb->batch.iter[i];
		put_locked_mapping_entry(&slot);
	}
}

/* invalidate_lock held. */
static int writeback_batch(struct writeback *wb)
{
	int ret;

	batch_fill(wb);
	if (!wb->batch.nr)
		return 0;
	batch_protect(wb);
	ret = batch_flush(wb);
	batch_release(wb, !ret);
	return ret;
}

/* ---- syncing ------------------------------------------------------------------------- */

static int sync_devices(struct dax_mapping *mapping)
{
	struct met_device *met = smp_load_acquire(&mapping->met_devices);
	struct dax_device *dev = mapping->dax_dev;
	int ret = dev->persist->sync(dev);

	for (; !ret && met; met = met->next)
		ret = met->dev->persist->sync(met->dev);
	return ret;
}

/* The entry waited for its device: clean if that was synced and nobody stored
 * to it meanwhile (a store takes TOWRITE away). */
static void finish_entry(struct writeback *wb, dax_pgoff_t index, bool synced)
{
	struct dax_slot slot;

	dax_slot_init(&slot, wb->mapping, wb->area, index);
	if (!lock_waiting(&slot))
		return;
	if (!synced)
		radix_tree_tag_clear(&slot.iter, DAX_PAGECACHE_TAG_TOWRITE);
	else if (radix_tree_tag_get(&slot.iter, DAX_PAGECACHE_TAG_TOWRITE))
		tag_clean(&slot.iter);
	put_locked_mapping_entry(&slot);
}

/* invalidate_lock shared. */
static void finish_entries(struct writeback *wb, dax_pgoff_t first, bool synced)
{
	struct radix_tree_iter found;

	while (first <= wb->last &&
	       radix_tree_next_tagged(&wb->mapping->i_pages, first, wb->last,
				      DAX_PAGECACHE_TAG_TOWRITE, &found)) {
		finish_entry(wb, found.index, synced);
		first = entry_last(&found) + 1;
	}
}

/* What is left when the devices have been synced: tags. */
static int settle(struct writeback *wb, dax_pgoff_t first, bool synced)
{
	int ret = mapping_lock_shared(wb->mapping, &wb->area);

	if (ret)
		return ret;
	finish_entries(wb, first, synced);
	radix_tree_settle_tags(&wb->mapping->i_pages, first, wb->last,
			       DAX_PAGECACHE_TAG_TOWRITE);
	radix_tree_settle_tags(&wb->mapping->i_pages, first, wb->last,
			       DAX_PAGECACHE_TAG_DIRTY);
	mapping_unlock_shared(wb->mapping, wb->area);
	return 0;
}

/* ---- a range ---------------------------------------------------------------------------- */

static int writeback_batches(struct writeback *wb)
{
	int ret = 0;

	while (!ret && !wb->done) {
		ret = mapping_lock_shared(wb->mapping, &wb->area);
		if (ret)
			return ret;
		ret = writeback_batch(wb);
		mapping_unlock_shared(wb->mapping, wb->area);
	}
	return ret;
}

/* wb_lock held. */
static int writeback_locked(struct writeback *wb)
{
	dax_pgoff_t first = wb->next;
	int ret = writeback_batches(wb);
	int settled;

	dax_test_yield(DAX_TEST_WRITEBACK_SYNC);
	if (!ret)
		ret = sync_devices(wb->mapping);
	settled = settle(wb, first, !ret);
	return ret ? ret : settled;
}

static void writeback_init(struct writeback *wb, struct dax_mapping *mapping,
			   dax_pgoff_t first, dax_pgoff_t last)
{
	wb->mapping = mapping;
	wb->area = NULL;
	wb->next = first;
	wb->last = last;
	wb->done = false;
	wb->exclusive = false;
	wb->written = 0;
}

/* Remember a failure for every open file: kernel, errseq_set(). */
static void set_wb_err(struct dax_mapping *mapping, int err)
{
	uint32_t old = READ_ONCE(mapping->wb_err);
	uint32_t new;

	do {
		new = ((old >> 12) + 1) << 12 | (uint32_t)-err;
	} while (!atomic_compare_exchange_weak(&mapping->wb_err, &old, new));
}

int writeback_mapping_pages(struct dax_mapping *mapping, dax_pgoff_t first,
			    dax_pgoff_t last, uint64_t *ret_written)
{
	struct writeback wb;
	int ret = wb_lock(mapping);

	if (ret)
		return ret;
	writeback_init(&wb, mapping, first, last);
	ret = writeback_locked(&wb);
	wb_unlock(mapping);
	percpu_inc(this_percpu(&mapping->percpu), DAX_STAT_WRITEBACK_RANGE);
	*ret_written = wb.written;
	if (ret && ret != -ESTALE)
		set_wb_err(mapping, ret);
	return ret;
}

int writeback_exclusive(struct dax_mapping *mapping, dax_pgoff_t first,
			dax_pgoff_t last)
{
	struct writeback wb;
	int ret = 0;

	writeback_init(&wb, mapping, first, last);
	wb.area = this_percpu(&mapping->percpu);
	wb.exclusive = true;
	while (!ret && !wb.done)
		ret = writeback_batch(&wb);
	return ret;
}

/* ---- the calls ----------------------------------------------------------------------------- */

int64_t mapping_writeback(struct dax_mapping *mapping, dax_loff_t pos,
			  uint64_t len)
{
	uint64_t written = 0;
	int ret;

	if (pos < 0 || pos % DAX_PAGE_SIZE)
		return dax_error(-EINVAL, "offset %" PRId64 " is not a multiple of 4096 "
				 ">= 0", pos);
	if (len == 0)
		return 0;
	if (len > (uint64_t)(INT64_MAX - pos))
		len = (uint64_t)(INT64_MAX - pos);
	ret = writeback_mapping_pages(mapping, (dax_pgoff_t)pos >> DAX_PAGE_SHIFT,
				      ((dax_pgoff_t)pos + len - 1) >> DAX_PAGE_SHIFT,
				      &written);
	return ret ? ret : (int64_t)written;
}

/* The block map's own metadata, after the bytes it speaks of. */
static int sync_block_map(struct dax_mapping *mapping)
{
	int ret;

	if (!mapping->ops->sync)
		return 0;
	ret = iomap_result(mapping->ops->sync(mapping, mapping->private_data));
	if (ret)
		set_wb_err(mapping, ret);
	return ret;
}

/* Kernel: file_check_and_advance_wb_err(). */
static int check_wb_err(struct dax_mapping *mapping, uint32_t *since)
{
	uint32_t now = READ_ONCE(mapping->wb_err);
	int err = -(int)(now & 0xfff);

	if (!since || *since == now)
		return 0;
	*since = now;
	return dax_error(err, "an earlier writeback of the file failed with errno %d; "
			 "what it could not write has been tried again", -err);
}

int mapping_fsync(struct dax_mapping *mapping, uint32_t *since)
{
	uint64_t written = 0;
	int ret = writeback_mapping_pages(mapping, 0, UINT64_MAX >> DAX_PAGE_SHIFT,
					  &written);

	if (!ret)
		ret = sync_block_map(mapping);
	if (!ret)
		return check_wb_err(mapping, since);
	if (since)
		*since = READ_ONCE(mapping->wb_err);
	return ret;
}

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
 * Owns: both tags of data entries.
 * Locks: wb_lock, so that tags fall for one reason at a time; invalidate_lock
 *        shared, dropped between batches if somebody wants it; a run of entry locks taken in
 *        ascending order, the first by waiting, the others by trying.  None but
 *        wb_lock is held while a medium is synced.
 * Kernel: fs/dax.c, dax_writeback_mapping_range(), dax_writeback_one() (v4.14);
 *         errseq_t for the report of errors.
 * Differs: both tags fall together, after the flush; the kernel lets TOWRITE
 *          fall before, and a second fsync may return too early.  No entry is
 *          selected beforehand: the search goes up and never back, and not
 *          past the end the file had, so it ends however fast entries become
 *          dirty again.  A failed sync leaves the entries DIRTY.
 */
#include "writeback.h"

#include <errno.h>
#include <inttypes.h>

#include "ahead.h"
#include "entry_lock.h"
#include "errormsg.h"
#include "frames.h"
#include "fs_dax.h"
#include "iomap.h"

/* Entries held at a time, for one grace period and one fence. */
enum { WRITEBACK_BATCH = 256, LOOK_AHEAD = 16 };

struct writeback {
	struct dax_mapping *mapping;
	struct percpu_area *area;
	dax_pgoff_t next;	/* where writeback goes on */
	dax_pgoff_t last;
	bool done;		/* nothing is left up to last */
	bool exclusive;		/* nobody else is there, nothing is synced */
	uint64_t written;
	/* Entries that are locked, DIRTY and data. */
	struct radix_tree_iter *batch;
	unsigned int nr;
	/* What comes next, found while the batch before is worked on, so that
	 * waiting for memory is done meanwhile.  Good while invalidate_lock is
	 * held. */
	struct radix_tree_iter *ahead;
	unsigned int nr_ahead;
	struct radix_tree_iter buf[2][WRITEBACK_BATCH];
};

/* ---- a batch of locked entries ---------------------------------------------------- */

/* Is the locked entry one to write back? */
static bool is_dirty_data(const struct radix_tree_iter *iter)
{
	return radix_tree_tag_get(iter, DAX_PAGECACHE_TAG_DIRTY) &&
	       radix_tree_exceptional_entry(iter->entry) &&
	       dax_is_data_entry(iter->entry);
}

static void unlock_entry(struct writeback *wb, const struct radix_tree_iter *iter)
{
	dax_test_yield(DAX_TEST_BEFORE_UNLOCK);
	unlock_slot(wb->mapping, iter);
}

static bool lock_trying(struct radix_tree_iter *iter)
{
	iter->entry = smp_load_acquire(iter->slot);
	return radix_tree_exceptional_entry(iter->entry) &&
	       !dax_is_locked(iter->entry) && cmpxchg_lock(iter);
}

static bool is_entry(const struct dax_slot *slot, const void *unused)
{
	(void)unused;
	return radix_tree_exceptional_entry(slot->iter.entry);
}

/* Wait for the entry and lock it; false: it is gone. */
static bool lock_waiting(struct writeback *wb, struct radix_tree_iter *iter)
{
	struct dax_slot slot;

	dax_slot_init(&slot, wb->mapping, wb->area, iter->index);
	if (!lock_slot_if(&slot, is_entry, NULL))
		return false;
	*iter = slot.iter;
	return true;
}

/* In place, unless one before it was left out. */
static void batch_take(struct writeback *wb, const struct radix_tree_iter *found)
{
	struct radix_tree_iter *place = &wb->batch[wb->nr++];

	if (place != found)
		*place = *found;
}

/* Lock what the search found.  false: the batch ends before it, since who waits
 * holds no other entry. */
static bool batch_add(struct writeback *wb, struct radix_tree_iter *found)
{
	bool mine = lock_trying(found);

	if (!mine && wb->nr)
		return false;
	if (!mine)
		mine = lock_waiting(wb, found);
	wb->next = radix_tree_iter_last(found) + 1;
	if (mine && likely(is_dirty_data(found)))
		batch_take(wb, found);
	else if (mine)	/* another writeback flushed it, and we waited for that */
		unlock_entry(wb, found);
	return true;
}

/* Find up to @nr more of what comes next, and have its words fetched. */
static void look_ahead(struct writeback *wb, unsigned int nr)
{
	struct radix_tree_iter *iter = &wb->ahead[wb->nr_ahead];
	dax_pgoff_t from = wb->nr_ahead ? radix_tree_iter_last(iter - 1) + 1 : wb->next;
	unsigned int found;

	if (nr > WRITEBACK_BATCH - wb->nr_ahead)
		nr = WRITEBACK_BATCH - wb->nr_ahead;
	found = radix_tree_gang_lookup_tag(&wb->mapping->i_pages, from, wb->last,
					   DAX_PAGECACHE_TAG_DIRTY, iter, nr);
	for (unsigned int i = 0; i < found; i++)
		prefetch_later(iter[i].slot);
	prefetch_mapping_entries(wb->mapping, iter, found);
	wb->nr_ahead += found;
}

/* What was found becomes the batch, in place. */
static void batch_fill(struct writeback *wb)
{
	unsigned int found, i;

	if (!wb->nr_ahead)
		look_ahead(wb, WRITEBACK_BATCH);
	found = wb->nr_ahead;
	wb->batch = wb->ahead;
	wb->ahead = wb->buf[wb->batch == wb->buf[0]];
	wb->nr_ahead = 0;
	wb->nr = 0;
	for (i = 0; i < found; i++)
		if (!batch_add(wb, &wb->batch[i]))
			break;
	percpu_add(wb->area, DAX_STAT_WRITEBACK_VISIT, i);
	wb->done = !found;
}

/* From here on the next store to any page of the batch is a fault, which waits
 * for the entry; stores that were under way have come to their end. */
static void batch_protect(struct writeback *wb)
{
	dax_test_yield(DAX_TEST_WRITEBACK_LOCKED);
	if (mkclean_mapping_entries(wb->mapping, wb->batch, wb->nr))
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
	return dev->persist->flush(dev, pfn_to_kaddr(dax_radix_pfn(iter->entry)),
				   (size_t)DAX_PAGE_SIZE << iter->order);
}

/* Flush, and one fence for a run of entries of one device. */
static int batch_flush(struct writeback *wb)
{
	struct dax_device *dev = NULL;
	int ret = 0;

	for (unsigned int i = 0; !ret && i < wb->nr; i++) {
		struct radix_tree_iter *iter = &wb->batch[i];

		if (dev && dev != entry_device(iter))
			dev->persist->fence(dev);
		dev = entry_device(iter);
		if (i % LOOK_AHEAD == 0)
			look_ahead(wb, LOOK_AHEAD);
		ret = flush_entry(dev, iter);
	}
	if (dev)
		dev->persist->fence(dev);
	dax_test_yield(DAX_TEST_WRITEBACK_FLUSHED);
	return ret;
}

/* Entries flushed, of one device: clean at once, or when it has been synced. */
static void tag_flushed(struct writeback *wb, const struct radix_tree_iter *iter,
			unsigned int nr)
{
	bool durable = entry_device(iter)->persist->durable_at_fence;

	for (unsigned int i = 0; !durable && !wb->exclusive && i < nr; i++)
		radix_tree_tag_set(&iter[i], DAX_PAGECACHE_TAG_TOWRITE);
	if (!durable && wb->exclusive)
		radix_tree_gang_tag_clear(iter, nr, DAX_PAGECACHE_TAG_TOWRITE);
	if (durable || wb->exclusive)
		radix_tree_gang_tag_clear(iter, nr, DAX_PAGECACHE_TAG_DIRTY);
}

static void batch_tag_flushed(struct writeback *wb)
{
	unsigned int first = 0;

	for (unsigned int i = 1; i <= wb->nr; i++) {
		if (i < wb->nr &&
		    entry_device(&wb->batch[i]) == entry_device(&wb->batch[first]))
			continue;
		tag_flushed(wb, &wb->batch[first], i - first);
		first = i;
	}
	for (unsigned int i = 0; unlikely(trace_enabled()) && i < wb->nr; i++)
		trace_dax_writeback_one(wb->mapping, wb->batch[i].index,
					(dax_pgoff_t)1 << wb->batch[i].order);
	wb->written += wb->nr;
	percpu_add(wb->area, DAX_STAT_WRITEBACK_ONE, wb->nr);
}

static void batch_unlock(struct writeback *wb)
{
	for (unsigned int i = 0; i < wb->nr; i++)
		unlock_entry(wb, &wb->batch[i]);
}

/* invalidate_lock held. */
static int writeback_batch(struct writeback *wb)
{
	int ret;

	batch_fill(wb);
	if (!wb->nr)
		return 0;
	batch_protect(wb);
	ret = batch_flush(wb);
	if (!ret)
		batch_tag_flushed(wb);
	batch_unlock(wb);
	return ret;
}

/* ---- syncing ------------------------------------------------------------------------- */

static int sync_device(struct dax_device *dev)
{
	if (unlikely(!smp_load_acquire(&dev->alive)))
		return dax_error(-ENXIO, "%s: the device is dead", dev->path);
	return dev->persist->sync(dev);
}

static int sync_devices(struct dax_mapping *mapping)
{
	struct met_device *met = smp_load_acquire(&mapping->met_devices);
	int ret = sync_device(mapping->dax_dev);

	for (; !ret && met; met = met->next)
		ret = sync_device(met->dev);
	return ret;
}

/* The entry waited for its device: clean if that was synced and nobody stored
 * to it meanwhile (a store takes TOWRITE away). */
static void finish_entry(struct writeback *wb, struct radix_tree_iter *iter,
			 bool synced)
{
	if (!lock_trying(iter) && !lock_waiting(wb, iter))
		return;
	synced &= radix_tree_tag_get(iter, DAX_PAGECACHE_TAG_TOWRITE);
	radix_tree_tag_clear(iter, DAX_PAGECACHE_TAG_TOWRITE);
	if (synced)
		radix_tree_tag_clear(iter, DAX_PAGECACHE_TAG_DIRTY);
	unlock_entry(wb, iter);
}

/* invalidate_lock shared. */
static void finish_entries(struct writeback *wb, dax_pgoff_t first, bool synced)
{
	struct radix_tree_iter found;

	while (first <= wb->last &&
	       radix_tree_next_tagged(&wb->mapping->i_pages, first, wb->last,
				      DAX_PAGECACHE_TAG_TOWRITE, &found)) {
		first = radix_tree_iter_last(&found) + 1;
		finish_entry(wb, &found, synced);
	}
}

/*
 * What is left when the devices have been synced: tags.  Of a 2 MiB entry that
 * reached out of the range a truncate or punch may have left 4 KiB ones there,
 * with its tags.
 */
static int settle(struct writeback *wb, dax_pgoff_t first, bool synced)
{
	int ret = mapping_lock_shared(wb->mapping, &wb->area);

	if (ret)
		return ret;
	first = radix_tree_canonical(first, DAX_PMD_ORDER);
	wb->last |= DAX_PMD_NR_PAGES - 1;
	finish_entries(wb, first, synced);
	radix_tree_settle_tags(&wb->mapping->i_pages, first, wb->last,
			       DAX_PAGECACHE_TAG_TOWRITE);
	radix_tree_settle_tags(&wb->mapping->i_pages, first, wb->last,
			       DAX_PAGECACHE_TAG_DIRTY);
	mapping_unlock_shared(wb->mapping, wb->area);
	return 0;
}

/* ---- a range ---------------------------------------------------------------------------- */

/* Let those in who want the file for themselves: what was found may go. */
static int let_writers_in(struct writeback *wb)
{
	if (likely(!percpu_rwsem_is_contended(&wb->mapping->invalidate_lock)))
		return 0;
	mapping_unlock_shared(wb->mapping, wb->area);
	wb->nr_ahead = 0;
	return mapping_relock_shared(wb->mapping, wb->area);
}

/* What is behind the end that the file has now came later: a file that grows
 * ahead of a writeback does not keep it.  invalidate_lock held: while a truncate
 * is under way the size may be one that it will not have. */
static void clip_to_size(struct writeback *wb)
{
	dax_pgoff_t end = mapping_max_pgoff(wb->mapping);

	if (wb->last >= end)
		wb->last = end ? end - 1 : 0;
}

static int writeback_batches(struct writeback *wb)
{
	int ret = mapping_lock_shared(wb->mapping, &wb->area);

	if (ret)
		return ret;
	clip_to_size(wb);
	while (!wb->done) {
		ret = writeback_batch(wb);
		if (ret)
			break;
		ret = let_writers_in(wb);
		if (ret)
			return ret;
	}
	mapping_unlock_shared(wb->mapping, wb->area);
	return ret;
}

/* A fault that brings in zeroes may not have found out yet that they were stored to:
 * it comes to its end. */
static int wait_for_faults(struct dax_mapping *mapping)
{
	int ret = mapping_lock_exclusive(mapping);

	if (!ret)
		mapping_unlock_exclusive(mapping);
	return ret;
}

/* What real mappings have stored to, nobody has told the tree. */
static int collect_dirty(struct writeback *wb, dax_pgoff_t first, dax_pgoff_t last)
{
	int ret = 0;

	if (READ_ONCE(wb->mapping->nr_real))
		ret = wait_for_faults(wb->mapping);
	if (!ret)
		ret = mapping_lock_shared(wb->mapping, &wb->area);
	if (ret)
		return ret;
	if (READ_ONCE(wb->mapping->nr_real))
		collect_dirty_pages(wb->mapping, wb->area, first, last);
	mapping_unlock_shared(wb->mapping, wb->area);
	return 0;
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
	wb->ahead = wb->buf[0];
	wb->nr_ahead = 0;
}

int writeback_mapping_pages(struct dax_mapping *mapping, dax_pgoff_t first,
			    dax_pgoff_t last, uint64_t *ret_written)
{
	struct writeback wb;
	int ret = wb_lock(mapping);

	if (ret)
		return ret;
	writeback_init(&wb, mapping, first, last);
	trace_dax_writeback_range(mapping, first, last);
	ret = mapping_settle_ahead(mapping, first, last);
	if (!ret)
		ret = collect_dirty(&wb, first, last);
	if (!ret)
		ret = writeback_locked(&wb);
	/* Before the next one, which may make it good, looks for it. */
	if (ret && ret != -ESTALE)
		mapping_set_error(mapping, ret);
	wb_unlock(mapping);
	trace_dax_writeback_range_done(mapping, wb.next, last);
	percpu_inc(this_percpu(&mapping->percpu), DAX_STAT_WRITEBACK_RANGE);
	*ret_written = wb.written;
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
	unmap_real_pages(mapping, first, last);
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
int sync_block_map(struct dax_mapping *mapping)
{
	int ret;

	if (!mapping->ops->sync)
		return 0;
	ret = iomap_result(mapping->ops->sync(mapping, mapping->private_data));
	if (ret)
		mapping_set_error(mapping, ret);
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

/* The caller returns @err: the cursor goes on if that is the last failure of the
 * file.  A call that was refused has told nobody of one. */
static void told_wb_err(struct dax_mapping *mapping, uint32_t *since, int err)
{
	uint32_t now = READ_ONCE(mapping->wb_err);

	if ((int)(now & 0xfff) == err)
		*since = now;
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
		told_wb_err(mapping, since, -ret);
	return ret;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * invalidate.c -- truncate, punch hole, invalidate clean entries
 *
 * Owns: nothing; it removes entries, and leaves before them.
 * Locks: truncate, punch and fallocate take i_rwsem, then invalidate_lock,
 *        both exclusive: no fault, load, store, read or write is inside.
 *        invalidate_pages_range() runs beside faults and locks each entry.
 * Kernel: mm/truncate.c, truncate_setsize(), truncate_pagecache_range(),
 *         invalidate_inode_pages2_range(); fs/dax.c,
 *         __dax_invalidate_mapping_entry() (v4.14).
 * Differs: an entry's leaves go while the entry is locked, before it goes
 *          itself; all waiters are woken; the block map is asked first, so
 *          that a failure leaves the file as it was.
 */
#include "invalidate.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "entry_lock.h"
#include "errormsg.h"
#include "iomap.h"
#include "policy.h"

/* ---- beside faults ------------------------------------------------------------ */

static bool entry_is_dirty(const struct radix_tree_iter *iter)
{
	return radix_tree_tag_get(iter, DAX_PAGECACHE_TAG_DIRTY) ||
	       radix_tree_tag_get(iter, DAX_PAGECACHE_TAG_TOWRITE);
}

/* Lock what stands at slot->index, NULL if nothing does. */
static void *lock_entry(struct dax_slot *slot)
{
	void *entry;

	do {
		entry = get_unlocked_mapping_entry(slot);
		if (!entry) {
			put_unlocked_mapping_entry(slot);
			return NULL;
		}
	} while (!lock_slot(slot));
	return entry;
}

/* 1: gone, 0: was not there, -EBUSY: dirty. */
static int invalidate_entry(struct dax_slot *slot)
{
	dax_pgoff_t nr;

	if (!lock_entry(slot))
		return 0;
	dax_test_yield(DAX_TEST_INVALIDATE_LOCKED);
	if (entry_is_dirty(&slot->iter)) {
		put_locked_mapping_entry(slot);
		return -EBUSY;
	}
	nr = (dax_pgoff_t)1 << slot->iter.order;
	unmap_mapping_pages(slot->mapping, slot->iter.index,
			    slot->iter.index + nr - 1, false);
	dax_delete_locked_entry(slot);
	return 1;
}

int invalidate_pages_range(struct dax_mapping *mapping,
			   struct percpu_area *area, dax_pgoff_t first,
			   dax_pgoff_t last)
{
	struct radix_tree_iter iter;
	struct dax_slot slot;
	int ret = 0;

	while (radix_tree_next(&mapping->i_pages, first, last, &iter)) {
		dax_pgoff_t end = iter.index + ((dax_pgoff_t)1 << iter.order) - 1;

		dax_slot_init(&slot, mapping, area, iter.index);
		if (invalidate_entry(&slot) < 0)
			ret = -EBUSY;
		if (end >= last)
			break;
		first = end + 1;
	}
	return ret;
}

/* ---- bytes ---------------------------------------------------------------------- */

/* A part of a page that is to be zeroed once nothing can fail any more. */
struct partial {
	char *kaddr;	/* NULL: a hole, nothing to do */
	size_t len;
};

/* Where bytes [pos, end) of one page lie on the device. */
static int find_partial(struct dax_mapping *mapping, dax_loff_t pos,
			dax_loff_t end, struct partial *part)
{
	uint64_t len = (uint64_t)(end - pos), addr;
	struct dax_iomap iomap;
	int64_t nr = 0;
	void *kaddr;
	int ret;

	*part = (struct partial){ .len = len };
	if (!len)
		return 0;
	ret = iomap_begin(mapping, pos, len, DAX_IOMAP_REPORT, &iomap);
	if (ret)
		return ret;
	addr = iomap.addr + (uint64_t)(pos - iomap.offset);
	if (!iomap_type_known(&iomap))
		nr = iomap_bad_answer(&iomap, pos);
	else if (iomap.type == DAX_IOMAP_MAPPED)
		nr = direct_access(iomap.dax_dev, addr >> DAX_PAGE_SHIFT, 1, &kaddr,
				   NULL);
	if (nr > 0) {
		part->kaddr = (char *)kaddr + addr % DAX_PAGE_SIZE;
		nr = device_prepare_store(iomap.dax_dev, addr, len);
	}
	iomap_end(mapping, pos, len, nr < 0 ? 0 : (int64_t)len, DAX_IOMAP_REPORT,
		  &iomap);
	return nr < 0 ? (int)nr : 0;
}

static void zero_partial(const struct partial *part)
{
	if (part->kaddr)
		memset(part->kaddr, 0, part->len);
}

static dax_loff_t page_end(dax_loff_t pos)
{
	return (dax_loff_t)(((uint64_t)pos + DAX_PAGE_SIZE - 1) &
			    ~(uint64_t)(DAX_PAGE_SIZE - 1));
}

int zero_tail(struct dax_mapping *mapping)
{
	dax_loff_t size = i_size_read(mapping);
	struct partial tail;
	int ret = find_partial(mapping, size, page_end(size), &tail);

	if (!ret)
		zero_partial(&tail);
	return ret;
}

/* ---- alone (both locks exclusive) -------------------------------------------------- */

static int lock_both(struct dax_mapping *mapping)
{
	int ret = i_rwsem_lock_exclusive(mapping);

	if (ret)
		return ret;
	ret = mapping_lock_exclusive(mapping);
	if (ret)
		i_rwsem_unlock(mapping);
	return ret;
}

static void unlock_both(struct dax_mapping *mapping)
{
	mapping_unlock_exclusive(mapping);
	i_rwsem_unlock(mapping);
}

static bool delete_entry(const struct radix_tree_iter *iter, void *arg)
{
	struct dax_mapping *mapping = arg;
	struct dax_slot slot;

	dax_slot_init(&slot, mapping, this_percpu(&mapping->percpu), iter->index);
	slot.iter = *iter;
	if (!radix_tree_exceptional_entry(iter->entry))
		mapping->policy->grab_page(&slot);
	dax_delete_locked_entry(&slot);
	return true;
}

/* A PMD entry that reaches out of the range goes whole: so do its leaves. */
static void unmap_straddling(struct dax_mapping *mapping, dax_pgoff_t index)
{
	struct radix_tree_iter iter;

	if (radix_tree_next(&mapping->i_pages, index, index, &iter) && iter.order)
		unmap_mapping_pages(mapping, iter.index,
				    iter.index + ((dax_pgoff_t)1 << iter.order) - 1,
				    false);
}

/* Leaves first, then entries; nobody can fault in between. */
static void remove_pages(struct dax_mapping *mapping, dax_pgoff_t first,
			 dax_pgoff_t last, bool even_cows)
{
	unmap_straddling(mapping, first);
	unmap_straddling(mapping, last);
	unmap_mapping_pages(mapping, first, last, even_cows);
	radix_tree_delete_range(&mapping->i_pages, first, last, delete_entry,
				mapping);
}

static int check_writable(struct dax_mapping *mapping)
{
	struct dax_device *dev = mapping->dax_dev;

	if (dev->readonly)
		return dax_error(-EROFS, "%s: the device is read-only", dev->path);
	if (!smp_load_acquire(&dev->alive))
		return dax_error(-ENXIO, "%s: the device is dead", dev->path);
	return device_verify(dev);
}

static int not_supported(const char *what)
{
	return dax_error(-EOPNOTSUPP, "the file's block map has no %s", what);
}

static int check_end(dax_loff_t pos, uint64_t len)
{
	if (pos < 0)
		return dax_error(-EINVAL, "offset %" PRId64 " is negative", pos);
	if (len == 0)
		return dax_error(-EINVAL, "length is 0");
	if (pos > DAX_MAX_SIZE || len > (uint64_t)(DAX_MAX_SIZE - pos))
		return dax_error(-EFBIG, "offset %" PRId64 " + length %" PRIu64
				 " is beyond 2^63-4096", pos, len);
	return 0;
}

static int tree_extend(struct dax_mapping *mapping, dax_loff_t size)
{
	if (radix_tree_extend(&mapping->i_pages,
			      ((dax_pgoff_t)size + DAX_PAGE_SIZE - 1) >> DAX_PAGE_SHIFT))
		return dax_error(-ENOMEM, "no memory for a taller tree");
	return 0;
}

int mapping_reserve_size(struct dax_mapping *mapping, dax_loff_t size)
{
	int ret;

	if (likely((dax_pgoff_t)page_end(size) >> DAX_PAGE_SHIFT <=
		   radix_tree_maxindex(&mapping->i_pages)))
		return 0;
	ret = mapping_lock_exclusive(mapping);
	if (ret)
		return ret;
	ret = tree_extend(mapping, size);
	mapping_unlock_exclusive(mapping);
	return ret;
}

static int shrink(struct dax_mapping *mapping, dax_loff_t size)
{
	dax_pgoff_t first = (dax_pgoff_t)page_end(size) >> DAX_PAGE_SHIFT;
	struct partial tail;
	int ret = find_partial(mapping, size, page_end(size), &tail);

	if (!ret)
		ret = mapping->ops->truncate(mapping, mapping->private_data, size);
	if (ret)
		return ret;
	smp_store_release(&mapping->i_size, size);
	remove_pages(mapping, first, UINT64_MAX >> DAX_PAGE_SHIFT, true);
	zero_partial(&tail);
	return 0;
}

static int grow(struct dax_mapping *mapping, dax_loff_t size)
{
	int ret = tree_extend(mapping, size);

	if (!ret)
		ret = zero_tail(mapping);
	if (!ret)
		ret = mapping->ops->truncate(mapping, mapping->private_data, size);
	if (ret)
		return ret;
	smp_store_release(&mapping->i_size, size);
	return 0;
}

static int set_size(struct dax_mapping *mapping, dax_loff_t size)
{
	dax_loff_t old = i_size_read(mapping);
	int ret = check_writable(mapping);

	if (ret || size == old)
		return ret;
	return size < old ? shrink(mapping, size) : grow(mapping, size);
}

int mapping_truncate(struct dax_mapping *mapping, dax_loff_t size)
{
	int ret;

	if (size < 0)
		return dax_error(-EINVAL, "size %" PRId64 " is negative", size);
	if (size > DAX_MAX_SIZE)
		return dax_error(-EFBIG, "size %" PRId64 " is beyond 2^63-4096", size);
	if (!mapping->ops->truncate)
		return not_supported("truncate");
	ret = lock_both(mapping);
	if (ret)
		return ret;
	ret = set_size(mapping, size);
	unlock_both(mapping);
	return ret;
}

static int punch(struct dax_mapping *mapping, dax_loff_t pos, uint64_t len)
{
	dax_loff_t end = pos + (dax_loff_t)len;
	dax_loff_t head_end = end < page_end(pos) ? end : page_end(pos);
	dax_loff_t tail = end & ~(dax_loff_t)(DAX_PAGE_SIZE - 1);
	struct partial parts[2];
	int ret = check_writable(mapping);

	if (!ret)
		ret = find_partial(mapping, pos, head_end, &parts[0]);
	if (!ret)
		ret = find_partial(mapping, tail < head_end ? head_end : tail,
				   end, &parts[1]);
	if (!ret)
		ret = mapping->ops->punch(mapping, mapping->private_data, pos, len);
	if (ret)
		return ret;
	if (tail > page_end(pos))
		remove_pages(mapping, (dax_pgoff_t)page_end(pos) >> DAX_PAGE_SHIFT,
			     ((dax_pgoff_t)tail >> DAX_PAGE_SHIFT) - 1, false);
	zero_partial(&parts[0]);
	zero_partial(&parts[1]);
	return 0;
}

int mapping_punch_hole(struct dax_mapping *mapping, dax_loff_t pos,
		       uint64_t len)
{
	int ret = check_end(pos, len);

	if (ret)
		return ret;
	if (!mapping->ops->punch)
		return not_supported("punch");
	ret = lock_both(mapping);
	if (ret)
		return ret;
	ret = punch(mapping, pos, len);
	unlock_both(mapping);
	return ret;
}

static int set_aside(struct dax_mapping *mapping, dax_loff_t pos, uint64_t len)
{
	dax_loff_t end = pos + (dax_loff_t)len;
	bool grows = end > i_size_read(mapping);
	int ret = check_writable(mapping);

	if (!ret && grows)
		ret = tree_extend(mapping, end);
	if (!ret && grows)
		ret = zero_tail(mapping);
	if (!ret)
		ret = mapping->ops->fallocate(mapping, mapping->private_data, pos, len);
	if (!ret && grows)
		smp_store_release(&mapping->i_size, end);
	return ret;
}

int mapping_fallocate(struct dax_mapping *mapping, dax_loff_t pos, uint64_t len)
{
	int ret = check_end(pos, len);

	if (ret)
		return ret;
	if (!mapping->ops->fallocate)
		return not_supported("fallocate");
	ret = lock_both(mapping);
	if (ret)
		return ret;
	ret = set_aside(mapping, pos, len);
	unlock_both(mapping);
	return ret;
}

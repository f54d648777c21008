/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * invalidate.c -- truncate, punch hole, fallocate, invalidate clean entries
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

/* A page pointer in the tree of a policy that knows none. */
static bool is_foreign(const struct dax_slot *slot)
{
	return !radix_tree_exceptional_entry(slot->iter.entry) &&
	       !slot->mapping->policy->grab_page;
}

/* Lock what stands at slot->index, NULL if nothing does. */
static void *lock_entry(struct dax_slot *slot)
{
	void *entry;

	do {
		entry = get_unlocked_mapping_entry(slot);
		if (!entry || is_foreign(slot)) {
			put_unlocked_mapping_entry(slot);
			return NULL;
		}
	} while (!lock_slot(slot));
	return entry;
}

static bool shows_hole(const void *entry)
{
	return !radix_tree_exceptional_entry(entry) || !dax_is_data_entry(entry);
}

/* 0: gone or not there, -EBUSY: dirty, or a data entry that may stay. */
static int invalidate_entry(struct dax_slot *slot, bool holes_only)
{
	dax_pgoff_t nr;

	if (!lock_entry(slot))
		return 0;
	dax_test_yield(DAX_TEST_INVALIDATE_LOCKED);
	if (entry_is_dirty(&slot->iter) ||
	    (holes_only && !shows_hole(slot->iter.entry))) {
		put_locked_mapping_entry(slot);
		return -EBUSY;
	}
	nr = (dax_pgoff_t)1 << slot->iter.order;
	unmap_mapping_pages(slot->mapping, slot->iter.index,
			    slot->iter.index + nr - 1, false);
	dax_delete_locked_entry(slot);
	return 0;
}

/* A data entry that nobody is changing needs no look under its lock. */
static bool settled_data(const void *entry)
{
	return !shows_hole(entry) && !dax_is_locked(entry);
}

int invalidate_pages_range(struct dax_mapping *mapping,
			   struct percpu_area *area, dax_pgoff_t first,
			   dax_pgoff_t last, bool holes_only)
{
	struct radix_tree_iter iter;
	struct dax_slot slot;
	int ret = 0;

	while (radix_tree_next(&mapping->i_pages, first, last, &iter)) {
		dax_pgoff_t end = iter.index + ((dax_pgoff_t)1 << iter.order) - 1;

		dax_slot_init(&slot, mapping, area, iter.index);
		if (!(holes_only && settled_data(iter.entry)) &&
		    invalidate_entry(&slot, holes_only))
			ret = -EBUSY;
		if (end >= last)
			break;
		first = end + 1;
	}
	return ret;
}

/* ---- bytes ---------------------------------------------------------------------- */

/* Where bytes that are to be zeroed lie: found before a call changes anything,
 * zeroed when nothing else can fail any more. */
enum { MAX_PIECES = 64 };

struct partial {
	unsigned int nr;
	struct {
		struct dax_device *dev;
		char *kaddr;
		size_t len;
	} piece[MAX_PIECES];
};

static int add_piece(struct partial *part, const struct dax_iomap *iomap,
		     uint64_t addr, size_t len)
{
	void *kaddr;
	int64_t nr;

	if (part->nr == MAX_PIECES)
		return dax_error(-EIO, "the block map cuts a page into more than %d "
				 "extents", MAX_PIECES);
	nr = direct_access(iomap->dax_dev, addr >> DAX_PAGE_SHIFT, 1, &kaddr, NULL);
	if (nr < 0)
		return (int)nr;
	part->piece[part->nr].dev = iomap->dax_dev;
	part->piece[part->nr].kaddr = (char *)kaddr + addr % DAX_PAGE_SIZE;
	part->piece[part->nr++].len = len;
	return device_prepare_store(iomap->dax_dev, addr, len);
}

/* The share of one extent in [pos, pos + len): > 0 bytes, or -errno. */
static ssize_t find_piece(struct partial *part, const struct dax_iomap *iomap,
			  dax_loff_t pos, size_t len)
{
	uint64_t addr = iomap->addr + (uint64_t)(pos - iomap->offset);
	int ret;

	if (!iomap_type_known(iomap))
		return iomap_bad_answer(iomap, pos);
	len = iomap_left(iomap, pos, len);
	if (iomap->type != DAX_IOMAP_MAPPED)
		return (ssize_t)len;
	if (len > DAX_PAGE_SIZE - addr % DAX_PAGE_SIZE)
		len = DAX_PAGE_SIZE - addr % DAX_PAGE_SIZE;
	ret = add_piece(part, iomap, addr, len);
	return ret ? ret : (ssize_t)len;
}

static ssize_t find_once(struct dax_mapping *mapping, struct partial *part,
			 dax_loff_t pos, size_t len)
{
	struct dax_iomap iomap;
	ssize_t done;
	int ret = iomap_begin(mapping, pos, len, DAX_IOMAP_REPORT, &iomap);

	if (ret)
		return ret;
	done = find_piece(part, &iomap, pos, len);
	ret = iomap_end(mapping, pos, len, done < 0 ? 0 : done, DAX_IOMAP_REPORT,
			&iomap);
	return done < 0 || !ret ? done : ret;
}

/* Bytes [pos, end) lie in one page. */
static int find_partial(struct dax_mapping *mapping, dax_loff_t pos,
			dax_loff_t end, struct partial *part)
{
	part->nr = 0;
	while (pos < end) {
		ssize_t done = find_once(mapping, part, pos, (size_t)(end - pos));

		if (done < 0)
			return (int)done;
		pos += done;
	}
	return 0;
}

static int zero_partial(const struct partial *part)
{
	int ret = 0;

	for (unsigned int i = 0; !ret && i < part->nr; i++) {
		struct dax_device *dev = part->piece[i].dev;

		ret = dev->persist->zero_nt(dev, part->piece[i].kaddr,
					    part->piece[i].len);
		dev->persist->fence(dev);
	}
	return ret;
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

	return ret ? ret : zero_partial(&tail);
}

/* ---- alone (both locks exclusive) -------------------------------------------------- */

static int lock_both(struct dax_mapping *mapping)
{
	int ret = i_rwsem_lock_exclusive(mapping);

	if (ret)
		return ret;
	ret = mapping_lock_exclusive_nested(mapping);
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
	if (is_foreign(&slot))
		return true;
	if (!radix_tree_exceptional_entry(iter->entry))
		mapping->policy->grab_page(&slot);
	dax_delete_locked_entry(&slot);
	return true;
}

/* ---- entries that reach out of a range -------------------------------------------- */

/*
 * A 2 MiB entry of which a part goes.  If it is dirty the pages that stay get
 * entries of their own, with its tags: what was stored to them is not durable
 * yet.  (The kernel deletes it whole, and the next fsync flushes nothing.)
 */
struct straddler {
	struct radix_tree_iter iter;
	struct radix_tree_node *split;	/* NULL: it goes whole */
};

struct straddlers {
	unsigned int nr;
	struct straddler s[2];	/* at the first and at the last page */
};

static dax_pgoff_t entry_last(const struct radix_tree_iter *iter)
{
	return iter->index + (((dax_pgoff_t)1 << iter->order) - 1);
}

static void *page_word(const struct radix_tree_iter *old, dax_pgoff_t index)
{
	dax_pfn_t pfn = dax_radix_pfn(old->entry) + (index - old->index);

	return dax_unlock_word(dax_radix_locked_entry(pfn, 0));
}

static int add_straddler(struct dax_mapping *mapping, struct straddlers *all,
			 dax_pgoff_t first, dax_pgoff_t last, dax_pgoff_t at)
{
	struct straddler *s = &all->s[all->nr];

	if (!radix_tree_next(&mapping->i_pages, at, at, &s->iter) ||
	    (s->iter.index >= first && entry_last(&s->iter) <= last))
		return 0;
	if (all->nr && all->s[0].iter.index == s->iter.index)
		return 0;
	s->split = NULL;
	if (entry_is_dirty(&s->iter) && !dax_test_mutated(DAX_MUTATE_DROP_TAGS)) {
		s->split = radix_tree_split_range_prepare(&mapping->i_pages, &s->iter,
							  first, last, page_word);
		if (!s->split)
			return dax_error(-ENOMEM, "no memory for the entries of what stays "
					 "of a dirty 2 MiB");
	}
	all->nr++;
	return 0;
}

static void discard_straddlers(struct dax_mapping *mapping,
			       struct straddlers *all)
{
	for (unsigned int i = 0; i < all->nr; i++)
		if (all->s[i].split)
			radix_tree_split_range_discard(&mapping->i_pages,
						       all->s[i].split);
}

/* 0, or -ENOMEM with nothing prepared. */
static int prepare_straddlers(struct dax_mapping *mapping, dax_pgoff_t first,
			      dax_pgoff_t last, struct straddlers *all)
{
	int ret;

	all->nr = 0;
	ret = add_straddler(mapping, all, first, last, first);
	if (!ret)
		ret = add_straddler(mapping, all, first, last, last);
	if (ret)
		discard_straddlers(mapping, all);
	return ret;
}

/* Leaves of whole entries go, also outside the range. */
static void unmap_pages(struct dax_mapping *mapping,
			const struct straddlers *all, dax_pgoff_t first,
			dax_pgoff_t last, bool even_cows)
{
	for (unsigned int i = 0; i < all->nr; i++)
		unmap_mapping_pages(mapping, all->s[i].iter.index,
				    entry_last(&all->s[i].iter), false);
	unmap_mapping_pages(mapping, first, last, even_cows);
}

static uint64_t pages_kept(const struct radix_tree_iter *iter,
			   dax_pgoff_t first, dax_pgoff_t last)
{
	dax_pgoff_t from = iter->index > first ? iter->index : first;
	dax_pgoff_t to = entry_last(iter) < last ? entry_last(iter) : last;

	return ((uint64_t)1 << iter->order) - (to - from + 1);
}

static void remove_entries(struct dax_mapping *mapping,
			   const struct straddlers *all, dax_pgoff_t first,
			   dax_pgoff_t last)
{
	struct percpu_area *area = this_percpu(&mapping->percpu);

	for (unsigned int i = 0; i < all->nr; i++) {
		const struct straddler *s = &all->s[i];

		if (!s->split)
			continue;
		radix_tree_split_range_publish(&s->iter, s->split);
		percpu_inc(area, DAX_STAT_ENTRY_DELETE);
		percpu_add(area, DAX_STAT_ENTRY_INSERT,
			   pages_kept(&s->iter, first, last));
	}
	radix_tree_delete_range(&mapping->i_pages, first, last, delete_entry,
				mapping);
}

/* ---- size and blocks ------------------------------------------------------------------ */

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
	if (radix_tree_extend(&mapping->i_pages, mapping_maxindex(size)))
		return dax_error(-ENOMEM, "no memory for a taller tree");
	return 0;
}

int mapping_reserve_size(struct dax_mapping *mapping, dax_loff_t size)
{
	int ret;

	if (likely(mapping_maxindex(size) <= radix_tree_maxindex(&mapping->i_pages)))
		return 0;
	ret = mapping_lock_exclusive_nested(mapping);
	if (ret)
		return ret;
	ret = tree_extend(mapping, size);
	mapping_unlock_exclusive(mapping);
	return ret;
}

static int truncate_blocks(struct dax_mapping *mapping, dax_loff_t size)
{
	return iomap_result(mapping->ops->truncate(mapping, mapping->private_data,
						   size));
}

/* Leaves go first and can come back; then blocks; entries when that is done. */
static int shrink_to(struct dax_mapping *mapping, dax_loff_t size,
		     const struct straddlers *straddlers)
{
	const dax_pgoff_t last = UINT64_MAX >> DAX_PAGE_SHIFT;
	dax_pgoff_t first = (dax_pgoff_t)page_end(size) >> DAX_PAGE_SHIFT;
	dax_loff_t old = i_size_read(mapping);
	int ret;

	smp_store_release(&mapping->i_size, size);
	unmap_pages(mapping, straddlers, first, last, true);
	ret = truncate_blocks(mapping, size);
	if (ret) {
		smp_store_release(&mapping->i_size, old);
		return ret;
	}
	remove_entries(mapping, straddlers, first, last);
	return 0;
}

static int shrink(struct dax_mapping *mapping, dax_loff_t size)
{
	dax_pgoff_t first = (dax_pgoff_t)page_end(size) >> DAX_PAGE_SHIFT;
	struct straddlers straddlers;
	struct partial tail;
	int ret = find_partial(mapping, size, page_end(size), &tail);

	if (!ret)
		ret = prepare_straddlers(mapping, first, UINT64_MAX >> DAX_PAGE_SHIFT,
					 &straddlers);
	if (ret)
		return ret;
	ret = shrink_to(mapping, size, &straddlers);
	if (ret) {
		discard_straddlers(mapping, &straddlers);
		return ret;
	}
	return zero_partial(&tail);
}

static int grow(struct dax_mapping *mapping, dax_loff_t size)
{
	int ret = tree_extend(mapping, size);

	if (!ret)
		ret = zero_tail(mapping);
	if (!ret)
		ret = truncate_blocks(mapping, size);
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

/* The parts of a range that are not whole pages: before and behind those. */
static int find_edges(struct dax_mapping *mapping, dax_loff_t pos,
		      dax_loff_t end, struct partial parts[2])
{
	dax_loff_t head_end = end < page_end(pos) ? end : page_end(pos);
	dax_loff_t tail = end & ~(dax_loff_t)(DAX_PAGE_SIZE - 1);
	int ret = find_partial(mapping, pos, head_end, &parts[0]);

	if (ret)
		return ret;
	return find_partial(mapping, tail < head_end ? head_end : tail, end,
			    &parts[1]);
}

/* The whole pages of a range: leaves, then blocks, then entries. */
static int punch_pages(struct dax_mapping *mapping, dax_loff_t pos, uint64_t len,
		       dax_pgoff_t first, dax_pgoff_t last)
{
	struct straddlers straddlers;
	int ret = prepare_straddlers(mapping, first, last, &straddlers);

	if (ret)
		return ret;
	unmap_pages(mapping, &straddlers, first, last, false);
	ret = iomap_result(mapping->ops->punch(mapping, mapping->private_data, pos,
					       len));
	if (ret)
		discard_straddlers(mapping, &straddlers);
	else
		remove_entries(mapping, &straddlers, first, last);
	return ret;
}

static int punch(struct dax_mapping *mapping, dax_loff_t pos, uint64_t len)
{
	dax_loff_t end = pos + (dax_loff_t)len;
	dax_pgoff_t first = (dax_pgoff_t)page_end(pos) >> DAX_PAGE_SHIFT;
	dax_pgoff_t behind = (dax_pgoff_t)end >> DAX_PAGE_SHIFT;
	struct partial parts[2];
	int ret = check_writable(mapping);

	if (!ret)
		ret = find_edges(mapping, pos, end, parts);
	if (!ret && behind > first)
		ret = punch_pages(mapping, pos, len, first, behind - 1);
	if (ret)
		return ret;
	ret = zero_partial(&parts[0]);
	return ret ? ret : zero_partial(&parts[1]);
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
		ret = iomap_result(mapping->ops->fallocate(
			mapping, mapping->private_data, pos, len));
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

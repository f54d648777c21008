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

#include "ahead.h"
#include "collect.h"
#include "copy_mc.h"
#include "entry_lock.h"
#include "errormsg.h"
#include "iomap.h"
#include "layout.h"
#include "move.h"
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

static bool is_entry(const struct dax_slot *slot, const void *unused)
{
	(void)unused;
	return slot->iter.entry && !is_foreign(slot);
}

static bool shows_hole(const void *entry)
{
	return !radix_tree_exceptional_entry(entry) || !dax_is_data_entry(entry);
}

/* What is to be invalidated. */
struct stale {
	dax_pgoff_t first, last;
	bool holes_only;
	dax_pfn_t pfn;		/* of page @first; 0: unknown */
};

/* Does a data entry show another block than the file has there? */
static bool wrong_frame(const struct stale *stale,
			const struct radix_tree_iter *iter)
{
	dax_pgoff_t page = iter->index > stale->first ? iter->index : stale->first;

	return stale->pfn &&
	       dax_radix_pfn(iter->entry) + (page - iter->index) !=
		       stale->pfn + (page - stale->first);
}

static bool may_stay(const struct stale *stale, const struct radix_tree_iter *iter)
{
	if (shows_hole(iter->entry))
		return false;
	return !wrong_frame(stale, iter) &&
	       (stale->holes_only || entry_is_dirty(iter));
}

/* 0: gone or not there, -EBUSY: dirty, or a data entry that may stay. */
static int invalidate_entry(struct dax_slot *slot, const struct stale *stale)
{
	bool left;	/* a block that may be used again soon */

	if (!lock_slot_if(slot, is_entry, NULL))
		return 0;
	dax_test_yield(DAX_TEST_INVALIDATE_LOCKED);
	if (may_stay(stale, &slot->iter)) {
		put_locked_mapping_entry(slot);
		return -EBUSY;
	}
	left = !shows_hole(slot->iter.entry) && wrong_frame(stale, &slot->iter);
	unmap_mapping_pages(slot->mapping, slot->iter.index,
			    radix_tree_iter_last(&slot->iter), false);
	if (left) {
		percpu_synchronize(&slot->mapping->percpu);
		dax_flush_rest(slot);
	}
	dax_delete_locked_entry(slot);
	return 0;
}

/* A data entry that nobody is changing needs no look under its lock. */
static bool settled_data(const struct stale *stale,
			 const struct radix_tree_iter *iter)
{
	return stale->holes_only && !dax_is_locked(iter->entry) &&
	       may_stay(stale, iter);
}

int invalidate_pages_range(struct dax_mapping *mapping,
			   struct percpu_area *area, dax_pgoff_t first,
			   dax_pgoff_t last, bool holes_only, dax_pfn_t pfn)
{
	struct stale stale = { first, last, holes_only, pfn };
	struct radix_tree_iter iter;
	struct dax_slot slot;
	int ret = 0;

	while (radix_tree_next(&mapping->i_pages, first, last, &iter)) {
		dax_pgoff_t end = radix_tree_iter_last(&iter);

		dax_slot_init(&slot, mapping, area, iter.index);
		if (!settled_data(&stale, &iter) && invalidate_entry(&slot, &stale))
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
	bool unshared;		/* the page's block was made the file's own */
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
	uint64_t addr = iomap_addr(iomap, pos);
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

/* A write to one page of shared blocks: the file gets one of its own, and
 * nothing shows the old one any more. */
static int unshare_page(struct dax_mapping *mapping, dax_pgoff_t page)
{
	dax_loff_t pos = (dax_loff_t)(page << DAX_PAGE_SHIFT);
	struct dax_iomap iomap;
	int ret = iomap_begin(mapping, pos, DAX_PAGE_SIZE, DAX_IOMAP_WRITE, &iomap);

	if (ret)
		return ret;
	if (iomap.type != DAX_IOMAP_MAPPED || !iomap_type_known(&iomap)) {
		iomap_end(mapping, pos, DAX_PAGE_SIZE, 0, DAX_IOMAP_WRITE, &iomap);
		return iomap_bad_answer(&iomap, pos);
	}
	smp_mb();	/* as before a write: rw.c */
	invalidate_pages_range(mapping, this_percpu(&mapping->percpu), page, page,
			       true, iomap_pfn(&iomap, pos));
	return iomap_end(mapping, pos, DAX_PAGE_SIZE, DAX_PAGE_SIZE,
			 DAX_IOMAP_WRITE, &iomap);
}

static bool is_shared(const struct dax_iomap *iomap)
{
	return iomap->type == DAX_IOMAP_MAPPED && iomap->flags & DAX_IOMAP_F_SHARED;
}

/* > 0 bytes done; 0: unshared, to be repeated; or -errno. */
static ssize_t find_once(struct dax_mapping *mapping, struct partial *part,
			 dax_loff_t pos, size_t len)
{
	struct dax_iomap iomap;
	ssize_t done;
	int ret = iomap_begin(mapping, pos, len, DAX_IOMAP_REPORT, &iomap);

	if (ret)
		return ret;
	if (is_shared(&iomap) && !part->unshared) {
		part->unshared = true;
		iomap_end(mapping, pos, len, 0, DAX_IOMAP_REPORT, &iomap);
		return unshare_page(mapping, (dax_pgoff_t)pos >> DAX_PAGE_SHIFT);
	}
	done = find_piece(part, &iomap, pos, len);
	ret = iomap_end(mapping, pos, len, done < 0 ? 0 : done, DAX_IOMAP_REPORT,
			&iomap);
	return done < 0 || !ret ? done : ret;
}

/* Bytes [pos, end) lie in one page.  Its block is the file's own afterwards. */
static int find_partial(struct dax_mapping *mapping, dax_loff_t pos,
			dax_loff_t end, struct partial *part)
{
	part->nr = 0;
	part->unshared = false;
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

static dax_pgoff_t first_whole_page(dax_loff_t pos)
{
	return (dax_pgoff_t)page_end(pos) >> DAX_PAGE_SHIFT;
}

/* A file system zeroes what is left of a page itself, and better: a store by
 * way of memory may take blocks for all of the kernel's large page. */
static bool zeroes_itself(const struct dax_mapping *mapping)
{
	return mapping->hooks;
}

/* 1: all bytes are zero, 0: some are not, -EIO. */
static int partial_is_zero(const struct partial *part)
{
	char buf[DAX_PAGE_SIZE];
	int ret = 0;

	for (unsigned int i = 0; !ret && i < part->nr; i++) {
		ret = copy_mc(buf, part->piece[i].kaddr, part->piece[i].len);
		if (!ret && !mem_is_zero(buf, part->piece[i].len))
			return 0;
	}
	return ret ? ret : 1;
}

/* Not every file system zeroes what was stored past the end. */
int zero_tail(struct dax_mapping *mapping)
{
	dax_loff_t size = i_size_read(mapping);
	struct partial tail;
	int ret = find_partial(mapping, size, page_end(size), &tail);

	if (!ret && tail.nr && zeroes_itself(mapping))
		ret = partial_is_zero(&tail);
	if (ret)
		return ret < 0 ? ret : 0;
	return zero_partial(&tail);
}

/* ---- alone (both locks exclusive) -------------------------------------------------- */

/* Both locks, with no pinned page in the range.  The device itself is looked at
 * under the locks, by mapping_check_writable(). */
static int verify_and_lock(const struct layout_range *range)
{
	struct dax_mapping *mapping = range->mapping;
	int ret = mapping->hooks ? mapping->hooks->verify(mapping, 0, 0) : 0;

	return ret ? ret : break_layouts(range, NULL, false);
}

static void unlock_both(struct dax_mapping *mapping)
{
	collect_some(mapping);
	mapping_unlock_both(mapping);
}

struct removal {
	struct dax_mapping *mapping;
	uint64_t nr;	/* entries, pages excluded */
};

static __cold void delete_page(struct dax_mapping *mapping,
			       const struct radix_tree_iter *iter)
{
	struct dax_slot slot;

	dax_slot_init(&slot, mapping, this_percpu(&mapping->percpu), iter->index);
	slot.iter = *iter;
	if (is_foreign(&slot))
		return;
	mapping->policy->grab_page(&slot);
	dax_delete_locked_entry(&slot);
}

/* Nobody waits for an entry in an exclusive section: no one is to be woken, and
 * the tree empties the slot. */
static bool delete_entry(const struct radix_tree_iter *iter, void *arg)
{
	struct removal *removal = arg;

	if (likely(radix_tree_exceptional_entry(iter->entry)))
		removal->nr++;
	else
		delete_page(removal->mapping, iter);
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
	    (s->iter.index >= first && radix_tree_iter_last(&s->iter) <= last))
		return 0;
	if (all->nr && all->s[0].iter.index == s->iter.index)
		return 0;
	s->split = NULL;
	if (entry_is_dirty(&s->iter)) {
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
			dax_pgoff_t last)
{
	for (unsigned int i = 0; i < all->nr; i++)
		unmap_mapping_pages(mapping, all->s[i].iter.index,
				    radix_tree_iter_last(&all->s[i].iter), false);
	unmap_mapping_pages(mapping, first, last, false);
}

static uint64_t pages_kept(const struct radix_tree_iter *iter,
			   dax_pgoff_t first, dax_pgoff_t last)
{
	dax_pgoff_t from = iter->index > first ? iter->index : first;
	dax_pgoff_t to = radix_tree_iter_last(iter) < last ? radix_tree_iter_last(iter) : last;

	return ((uint64_t)1 << iter->order) - (to - from + 1);
}

static void remove_entries(struct dax_mapping *mapping,
			   const struct straddlers *all, dax_pgoff_t first,
			   dax_pgoff_t last)
{
	struct percpu_area *area = this_percpu(&mapping->percpu);
	struct removal removal = { .mapping = mapping };

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
				&removal);
	percpu_add(area, DAX_STAT_ENTRY_DELETE, removal.nr);
}

int remove_mapping_pages(struct dax_mapping *mapping, dax_pgoff_t first,
			 dax_pgoff_t last)
{
	struct straddlers straddlers;
	int ret = prepare_straddlers(mapping, first, last, &straddlers);

	if (ret)
		return ret;
	unmap_pages(mapping, &straddlers, first, last);
	remove_entries(mapping, &straddlers, first, last);
	return 0;
}

/* ---- size and blocks ------------------------------------------------------------------ */

/* Behind every file. */
#define LAST_PAGE	(UINT64_MAX >> DAX_PAGE_SHIFT)

int mapping_check_writable(struct dax_mapping *mapping)
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

int mapping_check_range(dax_loff_t pos, uint64_t len)
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

/* Leaves go first and can come back; then @blocks, if they are to be taken; when
 * that is done, what could not come back: private copies and entries. */
static int shrink_to(struct dax_mapping *mapping, dax_loff_t size, bool blocks)
{
	dax_pgoff_t first = first_whole_page(size);
	dax_loff_t old = i_size_read(mapping);
	struct straddlers straddlers;
	int ret = prepare_straddlers(mapping, first, LAST_PAGE, &straddlers);

	if (ret)
		return ret;
	smp_store_release(&mapping->i_size, size);
	unmap_pages(mapping, &straddlers, first, LAST_PAGE);
	if (blocks)
		ret = truncate_blocks(mapping, size);
	if (ret) {
		smp_store_release(&mapping->i_size, old);
		discard_straddlers(mapping, &straddlers);
		return ret;
	}
	unmap_private_copies(mapping, first, LAST_PAGE);
	forget_stores(mapping, (uint64_t)size, UINT64_MAX);
	remove_entries(mapping, &straddlers, first, LAST_PAGE);
	return 0;
}

static int shrink(struct dax_mapping *mapping, dax_loff_t size)
{
	struct partial tail = { .nr = 0 };
	int ret = 0;

	if (!zeroes_itself(mapping))
		ret = find_partial(mapping, size, page_end(size), &tail);
	if (!ret)
		ret = shrink_to(mapping, size, true);
	return ret ? ret : zero_partial(&tail);
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

int mapping_follow_size(struct dax_mapping *mapping, dax_loff_t size)
{
	int ret = tree_extend(mapping, size);

	if (ret || size == i_size_read(mapping))
		return ret;
	if (size < i_size_read(mapping))
		return shrink_to(mapping, size, false);
	smp_store_release(&mapping->i_size, size);
	return 0;
}

int mapping_run_alone(struct dax_mapping *mapping,
		      int (*fn)(struct dax_mapping *mapping, void *arg), void *arg)
{
	int ret = mapping_lock_both(mapping);

	if (ret)
		return ret;
	give_back_ahead_locked(mapping);
	ret = fn(mapping, arg);
	mapping_unlock_both(mapping);
	return ret;
}

static int set_size(struct dax_mapping *mapping, dax_loff_t size)
{
	dax_loff_t old = i_size_read(mapping);
	int ret = mapping_check_writable(mapping);

	if (ret || size == old)
		return ret;
	return size < old ? shrink(mapping, size) : grow(mapping, size);
}

int mapping_truncate(struct dax_mapping *mapping, dax_loff_t size)
{
	struct layout_range behind = { .mapping = mapping, .end = UINT64_MAX };
	int ret;

	if (size < 0)
		return dax_error(-EINVAL, "size %" PRId64 " is negative", size);
	if (size > DAX_MAX_SIZE)
		return dax_error(-EFBIG, "size %" PRId64 " is beyond 2^63-4096", size);
	if (!mapping->ops->truncate)
		return not_supported("truncate");
	behind.first = first_whole_page(size);
	ret = verify_and_lock(&behind);
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
static int punch_blocks(struct dax_mapping *mapping, dax_loff_t pos, uint64_t len)
{
	return iomap_result(mapping->ops->punch(mapping, mapping->private_data, pos,
						len));
}

static int punch_pages(struct dax_mapping *mapping, dax_loff_t pos, uint64_t len,
		       dax_pgoff_t first, dax_pgoff_t last)
{
	struct straddlers straddlers;
	int ret = prepare_straddlers(mapping, first, last, &straddlers);

	if (ret)
		return ret;
	unmap_pages(mapping, &straddlers, first, last);
	ret = punch_blocks(mapping, pos, len);
	if (ret) {
		discard_straddlers(mapping, &straddlers);
		return ret;
	}
	remove_entries(mapping, &straddlers, first, last);
	return 0;
}

static int punch(struct dax_mapping *mapping, dax_loff_t pos, uint64_t len)
{
	dax_loff_t end = pos + (dax_loff_t)len;
	dax_pgoff_t first = first_whole_page(pos);
	dax_pgoff_t behind = (dax_pgoff_t)end >> DAX_PAGE_SHIFT;
	struct partial parts[2];
	int ret = mapping_check_writable(mapping);

	parts[0].nr = parts[1].nr = 0;
	if (!ret && !zeroes_itself(mapping))
		ret = find_edges(mapping, pos, end, parts);
	if (!ret && behind > first)
		ret = punch_pages(mapping, pos, len, first, behind - 1);
	else if (!ret && zeroes_itself(mapping))
		ret = punch_blocks(mapping, pos, len);
	if (ret)
		return ret;
	forget_stores(mapping, (uint64_t)pos, (uint64_t)end);
	ret = zero_partial(&parts[0]);
	return ret ? ret : zero_partial(&parts[1]);
}

int mapping_punch_hole(struct dax_mapping *mapping, dax_loff_t pos,
		       uint64_t len)
{
	struct layout_range range = { .mapping = mapping };
	int ret = mapping_check_range(pos, len);

	if (ret)
		return ret;
	if (!mapping->ops->punch)
		return not_supported("punch");
	/* Edges stay where they are; a page in between may be none. */
	range.first = first_whole_page(pos);
	range.end = ((dax_pgoff_t)pos + len) >> DAX_PAGE_SHIFT;
	ret = verify_and_lock(&range);
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
	int ret = mapping_check_writable(mapping);

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
	const struct layout_range none = { .mapping = mapping };	/* frees nothing */
	int ret = mapping_check_range(pos, len);

	if (ret)
		return ret;
	if (!mapping->ops->fallocate)
		return not_supported("fallocate");
	ret = verify_and_lock(&none);
	if (ret)
		return ret;
	ret = set_aside(mapping, pos, len);
	unlock_both(mapping);
	return ret;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fault_around.c -- resolve the faults of a run of pages in one pass
 *
 * Owns: nothing; it changes entries it has locked and the leaves behind them.
 * Locks: caller holds invalidate_lock shared; a run of entry locks taken in
 *        ascending order, the first by waiting, the others by trying, held
 *        across the block map and the page-table insertion.  No array of them is
 *        kept: a locked entry stays where it is, so it is looked up again.
 * Kernel: mm/memory.c, do_fault_around() (v4.14).
 * Differs: there it maps what the page cache has; here it asks the block map, and
 *          for a store takes blocks for the holes that follow.
 */
#include "fault_around.h"

#include <errno.h>

#include "ahead.h"
#include "fault.h"
#include "frames.h"
#include "iomap.h"

struct around {
	struct dax_vm_fault *vmf;
	struct dax_mapping *mapping;
	dax_pgoff_t first;
	unsigned int nr;	/* entries locked from @first on */
};

static dax_loff_t around_pos(const struct around *around)
{
	return (dax_loff_t)(around->first << DAX_PAGE_SHIFT);
}

/* ---- which pages ------------------------------------------------------------- */

static bool may_store_ahead(const struct dax_vm_fault *vmf, dax_pgoff_t first)
{
	struct dax_mapping *mapping = vmf->vma->mapping;

	return vmf->pgoff == first && !mapping->cloned &&
	       READ_ONCE(mapping->ops)->punch;
}

/* A private vma that can be written to may show copies, which a run would meet. */
static bool may_fault_around(const struct dax_vm_fault *vmf, dax_pgoff_t first)
{
	struct dax_vma *vma = vmf->vma;

	if (vma->flags & DAX_VM_SYNC || vma->pages == DAX_PAGES_PMD ||
	    (!vma_is_shared(vma) && vma->flags & DAX_VM_WRITE) ||
	    vma->mapping->policy->grab_page || mapping_is_frozen(vma->mapping))
		return false;
	/* 2 MiB at once are better still: they are tried first, but for stores of
	 * the CPU, which get pages of their own. */
	if (vma->pages == DAX_PAGES_AUTO && !(vma->real && vmf->write) &&
	    vma->vm_ops->pmd_state(vma, first) != VMA_PMD_TABLE)
		return false;
	return !vmf->write || may_store_ahead(vmf, first);
}

static dax_pgoff_t least(dax_pgoff_t a, dax_pgoff_t b)
{
	return a < b ? a : b;
}

/* Pages from @first on that a run may have; 0: none. */
static unsigned int clip_run(const struct dax_vma *vma, dax_pgoff_t first,
			     unsigned int nr)
{
	dax_pgoff_t max_pgoff = mapping_max_pgoff(vma->mapping);
	dax_pgoff_t page = (vma->vm_start >> DAX_PAGE_SHIFT) + (first - vma->vm_pgoff);
	dax_pgoff_t left = FAULT_AROUND_MAX - page % FAULT_AROUND_MAX;

	if (!vma_covers(vma, first) || first >= max_pgoff)
		return 0;
	left = least(left, max_pgoff - first);
	left = least(left, vma->vm_pgoff + vma->nr_pages - first);
	return (unsigned int)least(left, nr);
}

/* The page table of the run, before anything is changed. */
static bool make_room(const struct around *around)
{
	struct dax_vm_fault at_first = *around->vmf;

	at_first.pgoff = around->first;
	at_first.pte = NULL;
	return !at_first.vma->vm_ops->pte_alloc(&at_first);
}

/* ---- their entries ------------------------------------------------------------- */

static void slot_init(const struct around *around, unsigned int i,
		      struct dax_slot *slot)
{
	dax_slot_init(slot, around->mapping, around->vmf->area, around->first + i);
}

/* The locked entry of page @i of the run. */
static void find_slot(const struct around *around, unsigned int i,
		      struct dax_slot *slot)
{
	slot_init(around, i, slot);
	radix_tree_walk(&around->mapping->i_pages, slot->index, 0, &slot->iter);
}

/* Can what was found be of the run?  Nothing is taken ahead of a store to a page
 * that has a block, nor over one. */
static bool fits(const struct around *around, const struct dax_slot *slot)
{
	const void *entry = slot->iter.entry;

	if (!entry)
		return true;
	if (!radix_tree_exceptional_entry(entry) || slot->iter.order)
		return false;
	return !around->vmf->write || !dax_is_data_entry(entry);
}

static int insert_empty(struct dax_slot *slot)
{
	int ret = radix_tree_insert(&slot->mapping->i_pages, slot->index, 0,
				    dax_radix_locked_entry(0, DAX_EMPTY), &slot->iter);

	if (!ret)
		percpu_inc(slot->area, DAX_STAT_ENTRY_INSERT);
	return ret;
}

static bool lock_waiting(const struct around *around)
{
	struct dax_slot slot;
	int ret = -EEXIST;

	slot_init(around, 0, &slot);
	while (ret == -EEXIST) {
		get_unlocked_mapping_entry(&slot);
		if (!fits(around, &slot))
			break;
		if (!slot.iter.entry)
			ret = insert_empty(&slot);
		else if (lock_slot(&slot))
			return true;
	}
	put_unlocked_mapping_entry(&slot);
	return !ret;
}

static bool lock_trying(const struct around *around, unsigned int i)
{
	struct dax_slot slot;

	find_slot(around, i, &slot);
	if (!fits(around, &slot))
		return false;
	if (!slot.iter.entry)
		return !insert_empty(&slot);
	return !dax_is_locked(slot.iter.entry) && cmpxchg_lock(&slot.iter);
}

/* 2 MiB of zeroes that are in the way of stores go, as they do for one store. */
static void take_apart(const struct around *around)
{
	struct dax_slot slot;

	find_slot(around, 0, &slot);
	if (!slot.iter.entry || !slot.iter.order ||
	    !dax_is_zero_entry(slot.iter.entry) || grab_mapping_entry(&slot, 0))
		return;
	if (dax_is_empty_entry(slot.iter.entry))
		dax_delete_locked_entry(&slot);
	else
		put_locked_mapping_entry(&slot);
}

/* Who waits holds no other entry. */
static void lock_run(struct around *around, unsigned int nr)
{
	if (!lock_waiting(around))
		return;
	around->nr = 1;
	while (around->nr < nr && lock_trying(around, around->nr))
		around->nr++;
}

/* What the run had no use for leaves nothing behind. */
static void unlock_run(const struct around *around)
{
	struct dax_slot slot;

	for (unsigned int i = 0; i < around->nr; i++) {
		find_slot(around, i, &slot);
		if (dax_is_empty_entry(slot.iter.entry))
			dax_delete_locked_entry(&slot);
		else
			put_locked_mapping_entry(&slot);
	}
}

/* ---- what the block map says ------------------------------------------------------ */

/* Pages of the run that the extent has.  A hole may end with the file. */
static unsigned int extent_pages(const struct around *around,
				 const struct dax_iomap *iomap)
{
	dax_loff_t pos = around_pos(around);
	size_t len = (size_t)around->nr << DAX_PAGE_SHIFT;
	size_t left = iomap_left(iomap, pos, len);

	if (iomap->type != DAX_IOMAP_MAPPED &&
	    pos + (dax_loff_t)left >= i_size_read(around->mapping))
		return around->nr;
	return (unsigned int)(left >> DAX_PAGE_SHIFT);
}

/* The first frame of up to @nr; how many there are, 0: no use. */
static unsigned int extent_frames(const struct around *around,
				  const struct dax_iomap *iomap,
				  unsigned int nr, dax_pfn_t *ret_pfn)
{
	uint64_t addr = iomap->addr + (uint64_t)(around_pos(around) - iomap->offset);
	int64_t got;

	if (!nr || addr & (DAX_PAGE_SIZE - 1))
		return 0;
	got = direct_access(iomap->dax_dev, addr >> DAX_PAGE_SHIFT, nr, NULL, ret_pfn);
	if (got < 0)
		return 0;
	return (unsigned int)least((dax_pgoff_t)got, nr);
}

static unsigned int insert_run(const struct around *around, unsigned int nr,
			       dax_pfn_t pfn, bool mkwrite)
{
	struct dax_vm_fault *vmf = around->vmf;

	dax_test_yield(DAX_TEST_TREE_REPLACED);
	if (vmf->vma->vm_ops->insert_run(vmf, around->first, nr, pfn, mkwrite))
		return 0;
	percpu_add(vmf->area, DAX_STAT_FAULT_AROUND, nr);
	percpu_add(vmf->area, pfn == DAX_ZERO_PFN ? DAX_STAT_LOAD_HOLE
						  : DAX_STAT_INSERT_MAPPING, nr);
	return nr;
}

static unsigned int load_holes(const struct around *around, unsigned int nr)
{
	struct dax_slot slot;
	unsigned int i;

	for (i = 0; i < nr; i++) {
		find_slot(around, i, &slot);
		if (dax_is_data_entry(slot.iter.entry))
			break;
		dax_replace_entry(&slot, dax_radix_locked_entry(0, DAX_ZERO_PAGE));
	}
	return i ? insert_run(around, i, DAX_ZERO_PFN, false) : 0;
}

/* Entries that show other blocks go; then leaves of zero entries, which nobody
 * can bring back: they wait for the entry's lock; then stores to them have blocks. */
static void settle_run(const struct around *around, unsigned int nr, dax_pfn_t pfn)
{
	struct dax_slot slot;
	bool zero = false;

	for (unsigned int i = 0; i < nr; i++) {
		find_slot(around, i, &slot);
		settle_mapping_entry(&slot, pfn + i, 0, around->vmf->write);
		zero |= dax_is_zero_entry(slot.iter.entry);
	}
	if (zero)
		unmap_mapping_pages(around->mapping, around->first,
				    around->first + nr - 1, false);
	merge_stores(around->mapping, around->first, around->first + nr - 1, pfn);
	dax_test_yield(DAX_TEST_UNMAP_REPLACE);
}

/* Pages [from, nr) of the run become data. */
static void replace_run(const struct around *around, unsigned int from,
			unsigned int nr, dax_pfn_t pfn, bool ahead)
{
	struct dax_slot slot;

	for (unsigned int i = from; i < nr; i++) {
		find_slot(around, i, &slot);
		if (!dax_is_data_entry(slot.iter.entry))
			dax_replace_entry(&slot, dax_radix_locked_entry(pfn + i, 0));
		if (ahead)
			dax_tag_ahead(&slot);
	}
}

static unsigned int load_blocks(const struct around *around,
				const struct dax_iomap *iomap, unsigned int nr)
{
	dax_pfn_t pfn = 0;

	nr = extent_frames(around, iomap, nr, &pfn);
	if (!nr)
		return 0;
	settle_run(around, nr, pfn);
	replace_run(around, 0, nr, pfn, false);
	return insert_run(around, nr, pfn, false);
}

/* The block map has taken all these blocks: whatever fails now, each has an
 * entry with the tag, by which it is given back. */
static unsigned int store_blocks(const struct around *around,
				 const struct dax_iomap *iomap, unsigned int nr)
{
	uint64_t addr = iomap->addr + (uint64_t)(around_pos(around) - iomap->offset);
	struct dax_slot slot;
	dax_pfn_t pfn = 0;

	if (!(iomap->flags & DAX_IOMAP_F_AHEAD))
		nr = nr ? 1 : 0;
	nr = extent_frames(around, iomap, nr, &pfn);
	if (!nr)
		return 0;
	settle_run(around, nr, pfn);
	replace_run(around, 1, nr, pfn, true);
	if (device_prepare_store(iomap->dax_dev, addr, (uint64_t)nr << DAX_PAGE_SHIFT))
		return 0;
	find_slot(around, 0, &slot);
	insert_mapping_entry(around->vmf, &slot, pfn, 0);
	if (iomap->flags & DAX_IOMAP_F_NEW)
		percpu_inc(around->vmf->area, DAX_STAT_MAJOR_FAULT);
	return insert_run(around, nr, pfn, true);
}

static unsigned int around_mapped(const struct around *around,
				  const struct dax_iomap *iomap)
{
	unsigned int nr;

	if (!iomap_type_known(iomap))
		return 0;
	nr = extent_pages(around, iomap);
	if (iomap->type != DAX_IOMAP_MAPPED)
		return around->vmf->write ? 0 : load_holes(around, nr);
	return around->vmf->write ? store_blocks(around, iomap, nr)
				  : load_blocks(around, iomap, nr);
}

static unsigned int iomap_flags(const struct around *around)
{
	if (!around->vmf->write)
		return DAX_IOMAP_FAULT;
	return DAX_IOMAP_FAULT | DAX_IOMAP_WRITE |
	       (around->nr > 1 ? DAX_IOMAP_AHEAD : 0);
}

static unsigned int around_locked(const struct around *around)
{
	uint64_t len = (uint64_t)around->nr << DAX_PAGE_SHIFT;
	unsigned int flags = iomap_flags(around), done;
	dax_loff_t pos = around_pos(around);
	struct dax_iomap iomap;

	dax_test_yield(DAX_TEST_AFTER_GRAB);
	smp_mb();	/* pairs with invalidate_stale() in rw.c */
	if (iomap_begin(around->mapping, pos, len, flags, &iomap))
		return 0;
	dax_test_yield(DAX_TEST_AFTER_IOMAP);
	done = around_mapped(around, &iomap);
	iomap_end(around->mapping, pos, len, (int64_t)done << DAX_PAGE_SHIFT, flags,
		  &iomap);
	return done;
}

unsigned int iomap_fault_around(struct dax_vm_fault *vmf, dax_pgoff_t first,
				unsigned int nr)
{
	struct around around = {
		.vmf = vmf, .mapping = vmf->vma->mapping, .first = first,
	};
	unsigned int done;

	nr = clip_run(vmf->vma, first, nr);
	if (nr < 2 || !may_fault_around(vmf, first))
		return 0;
	if (vmf->write)
		take_apart(&around);
	if (!make_room(&around))
		return 0;
	lock_run(&around, nr);
	if (!around.nr)
		return 0;
	done = around_locked(&around);
	unlock_run(&around);
	return done;
}

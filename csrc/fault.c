/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fault.c -- resolve a page fault to a frame
 *
 * Owns: nothing; it changes an entry it has locked and the leaf behind it.
 * Locks: caller holds invalidate_lock shared; one entry lock is held from
 *        grab to put, across the block map and the page-table insertion.
 * Kernel: fs/dax.c, dax_iomap_pte_fault() and dax_iomap_pmd_fault() (v4.14).
 * Differs: what the block map answers is the truth: a data entry that shows
 *          another frame goes, leaves first; a failed leaf insertion is an
 *          error, also for holes; a PMD zero
 *          entry is not left behind when the page-table slot was taken; page
 *          tables are allocated before anything changes; a read-only device
 *          answers a store with -EROFS.
 */
#include "fault.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "collect.h"
#include "copy_mc.h"
#include "errormsg.h"
#include "frames.h"
#include "fs_dax.h"
#include "iomap.h"
#include "zero_page.h"

dax_vm_fault_t vmf_error(struct dax_vm_fault *vmf, int err)
{
	vmf->error = err;
	return err == -ENOMEM ? DAX_VM_FAULT_OOM : DAX_VM_FAULT_SIGBUS;
}

static dax_loff_t vmf_pos(const struct dax_vm_fault *vmf)
{
	return (dax_loff_t)(vmf->pgoff << DAX_PAGE_SHIFT);
}

/* ---- the entry ----------------------------------------------------------- */

void insert_mapping_entry(struct dax_vm_fault *vmf, struct dax_slot *slot,
			  dax_pfn_t pfn, unsigned int flags)
{
	void *old = slot->iter.entry;
	void *entry = dax_radix_locked_entry(pfn, flags);
	bool page = !radix_tree_exceptional_entry(old);
	bool data = !page && dax_is_data_entry(old);

	/* Nobody can bring the hole back: they wait for the entry's lock. */
	if (!(flags & DAX_ZERO_PAGE) && (page || dax_is_zero_entry(old)))
		unmap_mapping_pages(slot->mapping, slot->iter.index,
				    radix_tree_iter_last(&slot->iter), false);
	dax_test_yield(DAX_TEST_UNMAP_REPLACE);
	if (!(flags & DAX_ZERO_PAGE) && !data)
		merge_stores(slot->mapping, slot->iter.index,
			     radix_tree_iter_last(&slot->iter), pfn);
	if (unlikely(page))
		slot->mapping->policy->replace_hole(slot, entry);
	else if (!data)
		dax_replace_entry(slot, entry);
	if (vmf->write && !vmf->pfn)
		dax_tag_dirty(slot);
	dax_test_yield(DAX_TEST_TREE_REPLACED);
}

/* Some page of a 2 MiB entry shares its block, or is just leaving it. */
static bool any_may_move(const void *entry)
{
	dax_pfn_t pfn = dax_radix_pfn(entry);
	bool found = false;

	for (dax_pgoff_t i = 0; !found && i < DAX_PMD_NR_PAGES; i++)
		found = pfn_may_move(pfn + i);
	return found;
}

/* A store of 4 KiB would make a 2 MiB entry DIRTY of which other pages are
 * shared.  They will get blocks of their own: no DIRTY entry shares a block. */
static bool dirties_shared(const struct dax_slot *slot, bool write)
{
	return write && unlikely(READ_ONCE(frames_ever_shared)) &&
	       slot->iter.order &&
	       !radix_tree_tag_get(&slot->iter, DAX_PAGECACHE_TAG_DIRTY) &&
	       any_may_move(slot->iter.entry);
}

__cold int settle_mapping_entry_slow(struct dax_slot *slot, dax_pfn_t pfn,
				     unsigned int order, bool write)
{
	void *entry = slot->iter.entry;

	if (!radix_tree_exceptional_entry(entry) || !dax_is_data_entry(entry))
		return 0;
	if (likely(dax_radix_pfn(entry) + (slot->index - slot->iter.index) == pfn &&
		   !(order == 0 && dirties_shared(slot, write))))
		return 0;
	dax_forget_block(slot);
	return slot->iter.order > order ? dax_downgrade_entry(slot) : 0;
}

__cold int block_lost(const struct dax_vm_fault *vmf)
{
	return dax_error(-EIO, "the block map lost the block of page %" PRIu64
			 ": it says hole where there was one", vmf->pgoff);
}

/* Zero-page policy: a hole shows the common zero page, whatever the file. */
static __always_inline_fn dax_vm_fault_t __load_hole(struct dax_vm_fault *vmf,
						     struct dax_slot *slot)
{
	/* A zero entry never replaces a block, and a read tags nothing. */
	if (unlikely(dax_is_data_entry(slot->iter.entry)))
		return vmf_error(vmf, block_lost(vmf));
	dax_replace_entry(slot, dax_radix_locked_entry(0, DAX_ZERO_PAGE));
	dax_test_yield(DAX_TEST_TREE_REPLACED);
	percpu_inc(vmf->area, DAX_STAT_LOAD_HOLE);
	return vmf_inserted(vmf, vmf->vma->vm_ops->insert_mixed(vmf, DAX_ZERO_PFN,
								false));
}

static __always_inline_fn dax_vm_fault_t load_hole(struct dax_vm_fault *vmf,
						   struct dax_slot *slot)
{
	dax_vm_fault_t fault;

	fault = __load_hole(vmf, slot);
	trace_dax_load_hole(vmf, fault);
	return fault;
}

static int zero_page_policy_init(struct dax_mapping *mapping,
				 unsigned int page_pool)
{
	(void)mapping;
	(void)page_pool;
	if (!zero_page_present())
		return dax_error(-ENOMEM, "there is no zero page: no address space was "
				 "left for it when the library was loaded");
	return 0;
}

const struct dax_policy zero_page_policy = {
	.kind = DAX_POLICY_ZERO_PAGE,
	.load_hole = load_hole,
	.init = zero_page_policy_init,
};

/* ---- the block ------------------------------------------------------------ */

/* Page of the device behind @pos of a MAPPED extent; -EINVAL: misaligned. */
static int iomap_pgoff(const struct dax_iomap *iomap, dax_loff_t pos,
		       dax_pgoff_t *ret_pgoff)
{
	uint64_t addr = iomap_addr(iomap, pos);

	if (addr & (DAX_PAGE_SIZE - 1))
		return dax_error(-EINVAL, "the block map put byte %" PRId64
				 " at device byte %" PRIu64 ", which is not the start "
				 "of a page", pos, addr);
	*ret_pgoff = addr >> DAX_PAGE_SHIFT;
	return 0;
}

/* Frame and address of the page at @pos. */
static int iomap_page(const struct dax_iomap *iomap, dax_loff_t pos,
		      void **ret_kaddr, dax_pfn_t *ret_pfn)
{
	dax_pgoff_t pgoff;
	int64_t nr;
	int ret = iomap_pgoff(iomap, pos, &pgoff);

	if (ret)
		return ret;
	nr = direct_access(iomap->dax_dev, pgoff, 1, ret_kaddr, ret_pfn);
	return nr < 0 ? (int)nr : 0;
}

static __cold int not_synchronous(const struct dax_device *dev)
{
	return dax_error(-EOPNOTSUPP, "%s: the block map put a page of a mapping with "
			 "sync there, and that device is not persistent (%s)",
			 dev->path, dev->durability);
}

static int prepare_store(const struct dax_vm_fault *vmf,
			 const struct dax_iomap *iomap, dax_loff_t pos,
			 uint64_t len)
{
	if (vmf->vma->flags & DAX_VM_SYNC && !iomap->dax_dev->persist->map_sync)
		return not_synchronous(iomap->dax_dev);
	return device_prepare_store(iomap->dax_dev, iomap_addr(iomap, pos), len);
}

/*
 * Whatever else fails, an entry that shows another block than the block map
 * does not outlive the fault: the old one may be used again after iomap_end().
 * @err: what failed so far.
 */
static inline int settled(struct dax_slot *slot, dax_pfn_t pfn, unsigned int order,
		   bool write, int err)
{
	int ret = settle_mapping_entry(slot, pfn, order, write);

	return err ? err : ret;
}

/*
 * A store through a mapping that promises that flushed stores survive, to a
 * block of which the block map has not saved where it is.  Kernel:
 * dax_fault_is_synchronous() (v4.15).
 */
static bool fault_is_synchronous(const struct dax_vm_fault *vmf,
				 const struct dax_iomap *iomap)
{
	return vmf->write && vmf->vma->flags & DAX_VM_SYNC &&
	       iomap->flags & (DAX_IOMAP_F_NEW | DAX_IOMAP_F_DIRTY) &&
	       vmf->vma->mapping->ops->sync;
}

/* The entry shows the block, clean; the leaf comes when that has been saved. */
static dax_vm_fault_t need_sync(struct dax_vm_fault *vmf, struct dax_slot *slot,
				dax_pfn_t pfn, unsigned int flags)
{
	vmf->pfn = pfn;
	vmf->order = flags & DAX_PMD ? DAX_PMD_ORDER : 0;
	vmf->layout_seq = slot->mapping->layout_seq;
	insert_mapping_entry(vmf, slot, pfn, flags);
	return DAX_VM_FAULT_NEEDDSYNC;
}

/* ---- 4 KiB ------------------------------------------------------------------ */

static dax_vm_fault_t insert_mapping(struct dax_vm_fault *vmf,
				     struct dax_slot *slot,
				     const struct dax_iomap *iomap)
{
	bool mkwrite = vmf->write && !slot->mapping->policy->pfn_mkwrite;
	dax_pfn_t pfn = 0;
	int ret = iomap_page(iomap, vmf_pos(vmf), NULL, &pfn);

	if (!ret || iomap->flags & DAX_IOMAP_F_NEW)
		ret = settled(slot, pfn, 0, vmf->write, ret);
	if (!ret && vmf->write)
		ret = prepare_store(vmf, iomap, vmf_pos(vmf), DAX_PAGE_SIZE);
	if (ret)
		return vmf_error(vmf, ret);
	if (unlikely(fault_is_synchronous(vmf, iomap)))
		return need_sync(vmf, slot, pfn, 0);
	insert_mapping_entry(vmf, slot, pfn, 0);
	percpu_inc(vmf->area, DAX_STAT_INSERT_MAPPING);
	trace_dax_insert_mapping(vmf, pfn, slot->iter.entry);
	return vmf_inserted(vmf, vmf->vma->vm_ops->insert_mixed(vmf, pfn, mkwrite));
}

static int fill_cow_page(struct dax_vm_fault *vmf,
			 const struct dax_iomap *iomap, void *page)
{
	void *kaddr;
	int ret;

	if (iomap->type != DAX_IOMAP_MAPPED) {
		memset(page, 0, DAX_PAGE_SIZE);
		return 0;
	}
	ret = iomap_page(iomap, vmf_pos(vmf), &kaddr, NULL);
	if (!ret)
		ret = device_verify(iomap->dax_dev);
	if (!ret)
		ret = copy_mc(page, kaddr, DAX_PAGE_SIZE);
	return ret;
}

/* A write to a private mapping: the copy is finished with the entry locked,
 * and the entry stays as it is. */
static dax_vm_fault_t cow_fault(struct dax_vm_fault *vmf,
				const struct dax_iomap *iomap)
{
	void *page = dax_alloc_page();
	int ret;

	if (!page)
		return vmf_error(vmf, dax_error(-ENOMEM, "no memory for a private copy "
						"of page %" PRIu64, vmf->pgoff));
	ret = fill_cow_page(vmf, iomap, page);
	if (!ret)
		ret = vmf->vma->vm_ops->finish_cow(vmf, page);
	if (ret) {
		dax_free(page);
		return vmf_inserted(vmf, ret);
	}
	percpu_inc(vmf->area, DAX_STAT_COW_FAULT);
	return DAX_VM_FAULT_DONE_COW;
}

/* Does the extent have the whole page?  A hole may end with the file. */
static bool covers_page(struct dax_vm_fault *vmf, const struct dax_iomap *iomap)
{
	dax_loff_t pos = vmf_pos(vmf);

	if (iomap_left(iomap, pos, DAX_PAGE_SIZE) == DAX_PAGE_SIZE)
		return true;
	return iomap->type != DAX_IOMAP_MAPPED &&
	       iomap->offset + (dax_loff_t)iomap->length >=
		       i_size_read(vmf->vma->mapping);
}

/* The block map has answered: a block, a write, or both. */
static dax_vm_fault_t
pte_fault_mapped(struct dax_vm_fault *vmf, struct dax_slot *slot,
		 const struct dax_iomap *iomap)
{
	dax_vm_fault_t major = 0;

	if (unlikely(!iomap_type_known(iomap) || !covers_page(vmf, iomap)))
		return vmf_error(vmf, iomap_bad_answer(iomap, vmf_pos(vmf)));
	if (vmf->cow)
		return cow_fault(vmf, iomap);
	if (iomap->type == DAX_IOMAP_MAPPED) {
		if (iomap->flags & DAX_IOMAP_F_NEW) {
			percpu_inc(vmf->area, DAX_STAT_MAJOR_FAULT);
			major = DAX_VM_FAULT_MAJOR;
		}
		return insert_mapping(vmf, slot, iomap) | major;
	}
	if (!vmf->write)
		return slot->mapping->policy->load_hole(vmf, slot);
	return vmf_error(vmf, dax_error(-EIO, "the block map left page %" PRIu64
					" a hole when it was written to", vmf->pgoff));
}

/* The same, and what it leaves behind. */
static __attribute__((noinline)) dax_vm_fault_t
pte_fault_other(struct dax_vm_fault *vmf, struct dax_slot *slot,
		const struct dax_iomap *iomap)
{
	dax_vm_fault_t fault = pte_fault_mapped(vmf, slot, iomap);

	if (unlikely(fault & (DAX_VM_FAULT_ERROR | DAX_VM_FAULT_DONE_COW)))
		note_empty_entry(slot);
	return fault;
}

static __cold dax_vm_fault_t iomap_failed(struct dax_vm_fault *vmf,
					  const struct dax_slot *slot, int err)
{
	note_empty_entry(slot);
	/* The file may have what it lacks: each time there is less. */
	if (err == -ENOSPC && mapping_has_ahead(slot->mapping)) {
		vmf->no_space = true;
		return DAX_VM_FAULT_RETRY;
	}
	return vmf_error(vmf, err);
}

static unsigned int iomap_flags(const struct dax_vm_fault *vmf)
{
	return DAX_IOMAP_FAULT | (vmf->write ? DAX_IOMAP_WRITE : 0);
}

static __always_inline_fn dax_vm_fault_t
pte_fault_locked(struct dax_vm_fault *vmf, struct dax_slot *slot)
{
	struct dax_mapping *mapping = slot->mapping;
	unsigned int flags = iomap_flags(vmf);
	dax_loff_t pos = vmf_pos(vmf);
	struct dax_iomap iomap;
	dax_vm_fault_t fault;
	int ret;

	/* A PMD fault won the race: the CPU finds its leaf. */
	if (unlikely(slot->iter.order) &&
	    vmf->vma->vm_ops->pmd_state(vmf->vma, vmf->pgoff) == VMA_PMD_HUGE)
		return DAX_VM_FAULT_NOPAGE;
	dax_test_yield(DAX_TEST_AFTER_GRAB);
	smp_mb__after_atomic();	/* pairs with invalidate_stale() in rw.c */
	ret = iomap_begin(mapping, pos, DAX_PAGE_SIZE, flags, &iomap);
	if (unlikely(ret))
		return iomap_failed(vmf, slot, ret);
	dax_test_yield(DAX_TEST_AFTER_IOMAP);
	if (likely(iomap.type == DAX_IOMAP_HOLE && !vmf->write && !vmf->cow &&
		   iomap.length - (uint64_t)(pos - iomap.offset) >= DAX_PAGE_SIZE))
		fault = INDIRECT_CALL_1(mapping->policy->load_hole, load_hole, vmf,
					slot);
	else
		fault = pte_fault_other(vmf, slot, &iomap);
	/* Its own error does not count: the leaf is live already. */
	iomap_end(mapping, pos, DAX_PAGE_SIZE,
		  fault & DAX_VM_FAULT_ERROR ? 0 : DAX_PAGE_SIZE, flags, &iomap);
	return fault;
}

static dax_vm_fault_t past_end(struct dax_vm_fault *vmf)
{
	return vmf_error(vmf, dax_error(-EFAULT, "page %" PRIu64 " is past the end of "
					"the file (%" PRId64 " bytes)", vmf->pgoff,
					i_size_read(vmf->vma->mapping)));
}

static __always_inline_fn dax_vm_fault_t
__iomap_pte_fault(struct dax_vm_fault *vmf)
{
	struct dax_mapping *mapping = vmf->vma->mapping;
	struct dax_slot slot;
	dax_vm_fault_t fault;
	int ret;

	percpu_inc(vmf->area, DAX_STAT_PTE_FAULT);
	if (unlikely(vmf_pos(vmf) >= i_size_read(mapping)))
		return past_end(vmf);
	dax_slot_init(&slot, mapping, vmf->area, vmf->pgoff);
	ret = grab_mapping_entry(&slot, 0);
	if (unlikely(ret))
		return vmf_error(vmf, ret);
	fault = pte_fault_locked(vmf, &slot);
	put_locked_mapping_entry(&slot);
	return fault;
}

static __always_inline_fn dax_vm_fault_t
iomap_pte_fault(struct dax_vm_fault *vmf)
{
	dax_vm_fault_t fault;

	trace_dax_pte_fault(vmf, 0);
	fault = __iomap_pte_fault(vmf);
	trace_dax_pte_fault_done(vmf, fault);
	return fault;
}

/* ---- 2 MiB -------------------------------------------------------------------- */

static dax_vm_fault_t fallback(struct dax_vm_fault *vmf, int reason)
{
	vmf->reason = reason;
	return DAX_VM_FAULT_FALLBACK;
}

/* F1 to F5 and the end of file, in the kernel's order. */
static dax_vm_fault_t pmd_fault_check(struct dax_vm_fault *vmf,
				      dax_pgoff_t base)
{
	struct dax_vma *vma = vmf->vma;
	dax_pgoff_t max_pgoff = mapping_max_pgoff(vma->mapping);
	dax_pgoff_t colour = (vma->vm_start >> DAX_PAGE_SHIFT) - vma->vm_pgoff;

	if (colour & (DAX_PMD_NR_PAGES - 1))
		return fallback(vmf, DAX_FALLBACK_COLOUR);
	if (vmf->cow)
		return fallback(vmf, DAX_FALLBACK_COW);
	if (base < vma->vm_pgoff)
		return fallback(vmf, DAX_FALLBACK_VMA_START);
	if (base + DAX_PMD_NR_PAGES > vma->vm_pgoff + vma->nr_pages)
		return fallback(vmf, DAX_FALLBACK_VMA_END);
	if (base >= max_pgoff)
		return past_end(vmf);
	if (base + DAX_PMD_NR_PAGES > max_pgoff)
		return fallback(vmf, DAX_FALLBACK_EOF);
	return 0;
}

static int grab_reason(int err)
{
	return err == -ENOMEM ? DAX_FALLBACK_ENTRY_NOMEM : DAX_FALLBACK_ENTRY_EIO;
}

/* F9a to F9e: the 512 frames behind an extent, or why not. */
static int pmd_frame(const struct dax_iomap *iomap, dax_loff_t pos,
		     dax_pfn_t *ret_pfn)
{
	dax_pgoff_t pgoff;
	int64_t nr;

	if (iomap_pgoff(iomap, pos, &pgoff))
		return DAX_FALLBACK_UNALIGNED_BLOCK;
	nr = direct_access(iomap->dax_dev, pgoff, DAX_PMD_NR_PAGES, NULL, ret_pfn);
	if (nr < 0)
		return DAX_FALLBACK_DIRECT_ACCESS;
	if (nr < DAX_PMD_NR_PAGES)
		return DAX_FALLBACK_SHORT_ACCESS;
	if (*ret_pfn & (DAX_PMD_NR_PAGES - 1))
		return DAX_FALLBACK_UNALIGNED_PFN;
	if (!pfn_is_device(*ret_pfn))
		return DAX_FALLBACK_FOREIGN_PFN;
	return DAX_FALLBACK_NONE;
}

static dax_vm_fault_t pmd_insert_mapping(struct dax_vm_fault *vmf,
					 struct dax_slot *slot,
					 const struct dax_iomap *iomap,
					 dax_loff_t pos)
{
	dax_vm_fault_t major = 0;
	dax_pfn_t pfn = 0;
	int reason = pmd_frame(iomap, pos, &pfn);

	if (!reason || iomap->flags & DAX_IOMAP_F_NEW)
		settled(slot, pfn, DAX_PMD_ORDER, vmf->write, 0);
	if (!reason && vmf->write && prepare_store(vmf, iomap, pos, DAX_PMD_SIZE))
		reason = DAX_FALLBACK_INSERT_MAPPING;
	if (reason) {
		fallback(vmf, reason);
		trace_dax_pmd_insert_mapping_fallback(vmf, pfn, NULL);
		return DAX_VM_FAULT_FALLBACK;
	}
	if (iomap->flags & DAX_IOMAP_F_NEW) {
		percpu_inc(vmf->area, DAX_STAT_MAJOR_FAULT);
		major = DAX_VM_FAULT_MAJOR;
	}
	if (fault_is_synchronous(vmf, iomap))
		return major | need_sync(vmf, slot, pfn, DAX_PMD);
	insert_mapping_entry(vmf, slot, pfn, DAX_PMD);
	percpu_inc(vmf->area, DAX_STAT_PMD_INSERT_MAPPING);
	trace_dax_pmd_insert_mapping(vmf, pfn, slot->iter.entry);
	return major | vmf_inserted(vmf, vmf->vma->vm_ops->insert_pfn_pmd(vmf, pfn,
									  vmf->write));
}

static dax_vm_fault_t pmd_load_hole_fallback(struct dax_vm_fault *vmf,
					     int reason, dax_pfn_t pfn)
{
	fallback(vmf, reason);
	trace_dax_pmd_load_hole_fallback(vmf, pfn, NULL);
	return DAX_VM_FAULT_FALLBACK;
}

/* The page table first: a zero entry whose leaf found no place would stand in
 * the tree for nothing. */
static dax_vm_fault_t pmd_load_hole(struct dax_vm_fault *vmf,
				    struct dax_slot *slot)
{
	if (unlikely(!huge_zero_page_present()))
		return pmd_load_hole_fallback(vmf, DAX_FALLBACK_NO_HUGE_ZERO, 0);
	if (unlikely(dax_is_data_entry(slot->iter.entry)))
		return pmd_load_hole_fallback(vmf, DAX_FALLBACK_INSERT_HOLE,
					      DAX_HUGE_ZERO_PFN);
	if (unlikely(vmf->vma->vm_ops->insert_pfn_pmd(vmf, DAX_HUGE_ZERO_PFN,
						      false)))
		return pmd_load_hole_fallback(vmf, DAX_FALLBACK_PMD_OCCUPIED,
					      DAX_HUGE_ZERO_PFN);
	insert_mapping_entry(vmf, slot, 0, DAX_PMD | DAX_ZERO_PAGE);
	percpu_inc(vmf->area, DAX_STAT_PMD_LOAD_HOLE);
	trace_dax_pmd_load_hole(vmf, DAX_HUGE_ZERO_PFN, slot->iter.entry);
	return DAX_VM_FAULT_NOPAGE;
}

static dax_vm_fault_t pmd_fault_mapped(struct dax_vm_fault *vmf,
				       struct dax_slot *slot,
				       const struct dax_iomap *iomap,
				       dax_loff_t pos)
{
	if (iomap_left(iomap, pos, DAX_PMD_SIZE) < DAX_PMD_SIZE)
		return fallback(vmf, DAX_FALLBACK_SHORT_EXTENT);
	if (!iomap_type_known(iomap))
		return fallback(vmf, DAX_FALLBACK_UNKNOWN_TYPE);
	if (iomap->type == DAX_IOMAP_MAPPED)
		return pmd_insert_mapping(vmf, slot, iomap, pos);
	if (vmf->write)
		return fallback(vmf, DAX_FALLBACK_HOLE_WRITE);
	return pmd_load_hole(vmf, slot);
}

static dax_vm_fault_t pmd_fault_locked(struct dax_vm_fault *vmf,
				       struct dax_slot *slot)
{
	dax_loff_t pos = (dax_loff_t)(slot->iter.index << DAX_PAGE_SHIFT);
	struct dax_mapping *mapping = slot->mapping;
	unsigned int flags = iomap_flags(vmf);
	struct dax_iomap iomap;
	dax_vm_fault_t fault;

	switch (vmf->vma->vm_ops->pmd_state(vmf->vma, vmf->pgoff)) {
	case VMA_PMD_TABLE:
		return 0;	/* a PTE fault won: the CPU retries */
	case VMA_PMD_HUGE:
		if (!vmf->write)
			return DAX_VM_FAULT_NOPAGE;	/* so did our twin */
		break;
	case VMA_PMD_NONE:
		break;
	}
	dax_test_yield(DAX_TEST_AFTER_GRAB);
	smp_mb__after_atomic();	/* as in the PTE fault */
	/* Any error falls back: the PTE fault meets it again and reports it. */
	if (iomap_begin(mapping, pos, DAX_PMD_SIZE, flags, &iomap))
		return fallback(vmf, DAX_FALLBACK_IOMAP_ERROR);
	dax_test_yield(DAX_TEST_AFTER_IOMAP);
	fault = pmd_fault_mapped(vmf, slot, &iomap, pos);
	iomap_end(mapping, pos, DAX_PMD_SIZE,
		  fault & DAX_VM_FAULT_ERROR ? 0 : DAX_PMD_SIZE, flags, &iomap);
	return fault;
}

/*
 * Entries of 4 KiB are in the way.  A load of a hole is worth their removal,
 * which takes the file alone, unless the vma shows the range by 4 KiB already.
 */
static dax_vm_fault_t pmd_fault_conflict(struct dax_vm_fault *vmf,
					 dax_pgoff_t base)
{
	bool again = vmf->promoted && vmf->promote == base + 1;

	if (vmf->write || again || !huge_zero_page_present() ||
	    vmf->vma->vm_ops->pmd_state(vmf->vma, vmf->pgoff) != VMA_PMD_NONE ||
	    !can_promote(vmf->vma->mapping, base))
		return fallback(vmf, DAX_FALLBACK_ENTRY_EXISTS);
	vmf->promote = base + 1;
	vmf->promoted = false;
	return DAX_VM_FAULT_RETRY;
}

static dax_vm_fault_t iomap_pmd_fault(struct dax_vm_fault *vmf)
{
	struct dax_mapping *mapping = vmf->vma->mapping;
	dax_pgoff_t base = radix_tree_canonical(vmf->pgoff, DAX_PMD_ORDER);
	struct dax_slot slot;
	dax_vm_fault_t fault = pmd_fault_check(vmf, base);
	int ret;

	if (fault)
		return fault;
	dax_slot_init(&slot, mapping, vmf->area, base);
	ret = grab_mapping_entry(&slot, DAX_PMD_ORDER);
	if (ret == -EEXIST)
		return pmd_fault_conflict(vmf, base);
	if (ret)
		return fallback(vmf, grab_reason(ret));
	fault = pmd_fault_locked(vmf, &slot);
	if (fault & DAX_VM_FAULT_ERROR)
		note_empty_entry(&slot);
	put_locked_mapping_entry(&slot);
	return fault;
}

/* ---- dispatch ------------------------------------------------------------------- */

static dax_vm_fault_t pmd_fault(struct dax_vm_fault *vmf)
{
	dax_vm_fault_t fault;

	percpu_inc(vmf->area, DAX_STAT_PMD_FAULT);
	trace_dax_pmd_fault(vmf, 0);
	fault = iomap_pmd_fault(vmf);
	if (fault & DAX_VM_FAULT_FALLBACK) {
		vmf->vma->vm_ops->split_huge_pmd(vmf->vma, vmf->pgoff);
		percpu_inc(vmf->area, DAX_STAT_PMD_FAULT_FALLBACK);
		percpu_inc(vmf->area, DAX_STAT_FALLBACK + (unsigned int)vmf->reason);
	}
	trace_dax_pmd_fault_done(vmf, fault);
	return fault;
}

__cold void count_fault_error(struct dax_vm_fault *vmf, dax_vm_fault_t fault)
{
	if (fault & DAX_VM_FAULT_SIGBUS)
		percpu_inc(vmf->area, DAX_STAT_FAULT_SIGBUS);
	if (fault & DAX_VM_FAULT_OOM)
		percpu_inc(vmf->area, DAX_STAT_FAULT_OOM);
}

static inline dax_vm_fault_t counted(struct dax_vm_fault *vmf,
				     dax_vm_fault_t fault)
{
	if (unlikely(fault & (DAX_VM_FAULT_SIGBUS | DAX_VM_FAULT_OOM)))
		count_fault_error(vmf, fault);
	return fault;
}

dax_vm_fault_t iomap_fault(struct dax_vm_fault *vmf, unsigned int order)
{
	if (likely(order == 0))
		return counted(vmf, iomap_pte_fault(vmf));
	if (order == DAX_PMD_ORDER)
		return counted(vmf, pmd_fault(vmf));
	return fallback(vmf, DAX_FALLBACK_SIZE);
}

/* A store to a frozen file: the caller waits, without a lock.  Private copies
 * are nobody's concern. */
static bool must_wait(const struct dax_vm_fault *vmf)
{
	return vmf->write && unlikely(mapping_is_frozen(vmf->vma->mapping));
}

/* Does one leaf show 2 MiB of blocks? */
static bool shows_pmd_blocks(const struct dax_vm_fault *vmf)
{
	struct dax_vma *vma = vmf->vma;

	return vma->vm_ops->pmd_state(vma, vmf->pgoff) == VMA_PMD_HUGE &&
	       dax_pmd_pfn(vma->mapping, vmf->pgoff);
}

/* A store of the CPU to a hole gets a page of its own, not 2 MiB; a leaf of blocks
 * that is there for loads takes stores too, or goes. */
static bool takes_pmd(const struct dax_vm_fault *vmf)
{
	const struct dax_vma *vma = vmf->vma;

	if (vma->real && vmf->write && vma->pages == DAX_PAGES_AUTO)
		return shows_pmd_blocks(vmf);
	return vma->pages != DAX_PAGES_PTE;
}

/*
 * No table is there yet: a 2 MiB fault first where the vma takes those.
 * Return: its result, or FALLBACK: go on with 4 KiB.
 */
static dax_vm_fault_t fault_without_table(struct dax_vm_fault *vmf)
{
	struct dax_vma *vma = vmf->vma;
	dax_vm_fault_t fault = DAX_VM_FAULT_FALLBACK;

	if (must_wait(vmf))
		return DAX_VM_FAULT_RETRY;
	if (takes_pmd(vmf)) {
		if (vma->vm_ops->pmd_alloc(vmf))
			return counted(vmf, vmf_error(vmf, -ENOMEM));
		fault = iomap_fault(vmf, DAX_PMD_ORDER);
		if (!(fault & DAX_VM_FAULT_FALLBACK) || vma->pages == DAX_PAGES_PMD)
			return fault;
	}
	/* What lies past the end gets no table: it would be in the way of 2 MiB
	 * when the file has grown. */
	if (vmf_pos(vmf) < i_size_read(vma->mapping) &&
	    vma->vm_ops->pte_alloc(vmf))
		return counted(vmf, vmf_error(vmf, -ENOMEM));
	return fault;
}

/* A store; if the page is mapped already, read-only, the policy may have a
 * second step. */
static __attribute__((noinline)) dax_vm_fault_t
store_fault(struct dax_vm_fault *vmf)
{
	const struct dax_policy *policy = vmf->vma->mapping->policy;

	if (must_wait(vmf))
		return DAX_VM_FAULT_RETRY;
	if (policy->pfn_mkwrite && vmf->pte && READ_ONCE(*vmf->pte))
		return policy->pfn_mkwrite(vmf);
	return iomap_fault(vmf, 0);
}

dax_vm_fault_t handle_mm_fault(struct dax_vm_fault *vmf)
{
	dax_vm_fault_t fault;

	if (unlikely(!vmf->pte)) {
		fault = fault_without_table(vmf);
		if (!(fault & DAX_VM_FAULT_FALLBACK) ||
		    vmf->vma->pages == DAX_PAGES_PMD)
			return fault;
	} else if (unlikely(vmf->vma->pages == DAX_PAGES_PMD)) {
		return fallback(vmf, DAX_FALLBACK_PMD_OCCUPIED);
	}
	if (unlikely(vmf->write))
		return store_fault(vmf);
	return counted(vmf, iomap_pte_fault(vmf));
}

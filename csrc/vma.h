/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vma.h -- one mmap of a file range, its page table behind a table of calls
 *
 * The fault path sees page tables only through dax_vm_ops.  Every call is
 * made with invalidate_lock held.  insert_*, finish_cow, pmd_state, zap and
 * mkclean hold the entry lock of the pages too, or invalidate_lock exclusively,
 * so no two of them meet on one 4 KiB leaf.  pte_alloc, pmd_alloc and
 * split_huge_pmd hold no entry lock: they may meet others on a pmd slot.
 *
 * Kernel: struct vm_area_struct, vm_insert_mixed(), vm_insert_mixed_mkwrite(),
 * vmf_insert_pfn_pmd(), unmap_mapping_range() (v4.14 and the fixes named in
 * docs/design.md).
 */
#ifndef DAXCORE_VMA_H
#define DAXCORE_VMA_H

#include <stdbool.h>

#include "daxcore/types.h"
#include "sys.h"

/* What stands in the page-table slot of a 2 MiB range. */
enum vma_pmd_state {
	VMA_PMD_NONE,
	VMA_PMD_TABLE,	/* 4 KiB leaves */
	VMA_PMD_HUGE	/* one 2 MiB leaf */
};

struct dax_vm_fault;
struct percpu_area;
struct radix_tree_iter;

struct dax_vm_ops {
	/*
	 * Insert a 4 KiB leaf for vmf->pgoff.  @mkwrite: dirty, young and, if
	 * the vma allows it, writable at once; on a leaf that is there already
	 * only these flags are added, and only if it shows the same frame.
	 * 0; -EBUSY: a leaf is there (harmless); -ENOMEM; -EFAULT: outside.
	 */
	int (*insert_mixed)(struct dax_vm_fault *vmf, dax_pfn_t pfn,
			    bool mkwrite);
	/*
	 * Insert 4 KiB leaves for @nr pages from @pgoff on, which may or may not
	 * have vmf->pgoff among them: for consecutive frames from @pfn on, or
	 * for the zero page if that is DAX_ZERO_PFN.  Each as insert_mixed() does,
	 * a leaf that is there stays.  The pages lie in one 2 MiB of address
	 * space, for which pte_alloc() was called.  0; -errno: some may be there.
	 */
	int (*insert_run)(struct dax_vm_fault *vmf, dax_pgoff_t pgoff,
			  unsigned int nr, dax_pfn_t pfn, bool mkwrite);
	/* As insert_mixed() for a 2 MiB leaf; -EBUSY also if a table is there. */
	int (*insert_pfn_pmd)(struct dax_vm_fault *vmf, dax_pfn_t pfn,
			      bool write);
	/* Put a private copy, replacing what is there.  Takes over @page on 0.
	 * -EBUSY: a private copy is there already; -ENOMEM. */
	int (*finish_cow)(struct dax_vm_fault *vmf, void *page);
	/* Make room for a 4 KiB leaf (a table for it, vmf->pte) before
	 * anything is changed, so that insertion cannot run out of memory.
	 * pmd_alloc: the same for a 2 MiB leaf.  0 or -ENOMEM. */
	int (*pte_alloc)(struct dax_vm_fault *vmf);
	int (*pmd_alloc)(struct dax_vm_fault *vmf);
	enum vma_pmd_state (*pmd_state)(struct dax_vma *vma, dax_pgoff_t pgoff);
	/* Drop leaves; private copies only with @even_cows.  A 2 MiB leaf
	 * partly covered goes whole. */
	void (*zap)(struct dax_vma *vma, dax_pgoff_t first, dax_pgoff_t last,
		    bool even_cows);
	/* A 2 MiB leaf at @pgoff goes, tables stay.  So does a writable leaf:
	 * another fault won, and a store may be inside its frame, which
	 * mkclean() would not find out. */
	void (*split_huge_pmd)(struct dax_vma *vma, dax_pgoff_t pgoff);
	/*
	 * Write-protect and clean the leaves of all pages of entries, so far as
	 * they lie in the vma and show the file: the next store to them is a
	 * fault.  The entries are locked.  true: one was writable or dirty, and
	 * a store that saw it may be inside the frame still
	 * (percpu_synchronize()).
	 * Kernel: pfn_mkclean_range() (v5.19).
	 */
	bool (*mkclean)(struct dax_vma *vma, const struct radix_tree_iter *iter,
			unsigned int nr);
	/* The leaves of entries are looked at soon.  May be NULL. */
	void (*prefetch)(struct dax_vma *vma, const struct radix_tree_iter *iter,
			 unsigned int nr);
	/* The entry of the 2 MiB zero leaf around @pgoff becomes 512 of 4 KiB:
	 * the leaf goes, or becomes as many.  NULL: zap() it. */
	void (*split_zero_pmd)(struct dax_vma *vma, dax_pgoff_t pgoff);
	/* Tag DIRTY what may have been stored to without a call of ours.
	 * invalidate_lock shared, no entry lock held.  May be NULL. */
	void (*collect_dirty)(struct dax_vma *vma, struct percpu_area *area,
			      dax_pgoff_t first, dax_pgoff_t last);
	/* Bytes [pos, end) go: so does what was stored to it and has no block yet.
	 * invalidate_lock exclusive.  May be NULL. */
	void (*forget_stores)(struct dax_vma *vma, uint64_t pos, uint64_t end);
	/* Pages have frames, from @pfn on: what was stored to them when they had none
	 * goes there.  Context: merge_stores().  May be NULL. */
	int (*merge_stores)(struct dax_vma *vma, dax_pgoff_t first, dax_pgoff_t last,
			    dax_pfn_t pfn);
	/* No lock held: from now on no fault comes but by calls.  May be NULL. */
	void (*detach)(struct dax_vma *vma);
	void (*free)(struct dax_vma *vma);
};

struct vma_real;

struct dax_vma {
	const struct dax_vm_ops *vm_ops;
	struct dax_mapping *mapping;	/* a reference */
	struct dax_vma *i_mmap_next;	/* changed under invalidate_lock excl. */
	struct dax_vma **i_mmap_link;
	dax_pgoff_t vm_pgoff;		/* first page of the file */
	dax_pgoff_t nr_pages;
	uint64_t vm_start;		/* address */
	uint64_t length;		/* bytes asked for */
	unsigned int flags;		/* DAX_VM_* */
	unsigned int pages;		/* enum dax_vma_pages */
	_Atomic unsigned int refs;
	struct dax_vma *next_unfreed;	/* refs 0, but it could not be freed yet */
	struct vma_real *real;		/* its addresses; NULL: soft alone */
};

static inline bool vma_is_shared(const struct dax_vma *vma)
{
	return vma->flags & DAX_VM_SHARED;
}

static inline bool vma_covers(const struct dax_vma *vma, dax_pgoff_t pgoff)
{
	return pgoff - vma->vm_pgoff < vma->nr_pages;
}

/* What of a range lies in the vma; false: nothing. */
static inline bool clip_to_vma(const struct dax_vma *vma, dax_pgoff_t *first,
			       dax_pgoff_t *last)
{
	dax_pgoff_t end = vma->vm_pgoff + vma->nr_pages - 1;

	if (*first > end || *last < vma->vm_pgoff)
		return false;
	if (*first < vma->vm_pgoff)
		*first = vma->vm_pgoff;
	if (*last > end)
		*last = end;
	return true;
}

/* One fault on its way. */
struct dax_vm_fault {
	struct dax_vma *vma;
	dax_pgoff_t pgoff;
	_Atomic uint64_t *pte;	/* the page's 4 KiB leaf; NULL: no table yet */
	bool write;
	bool cow;	/* a write to a private mapping */
	int error;	/* out: -errno behind SIGBUS or OOM */
	int reason;	/* out: enum dax_fallback_reason */
	struct percpu_area *area;	/* the thread's, of the file */
	/* With RETRY of a load: the 2 MiB to be promoted, its first page + 1.
	 * Kept, so that none is promoted twice in a row. */
	dax_pgoff_t promote;
	bool promoted;
	bool no_space;	/* with RETRY: pages taken ahead are to be given back */
	/* out, with NEEDDSYNC; else 0: fault_outside.h */
	dax_pfn_t pfn;		/* frame that is to be inserted */
	unsigned int order;	/* of its leaf */
	uint64_t layout_seq;	/* of the file then */
};

#endif

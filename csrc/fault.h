/* SPDX-License-Identifier: BSD-3-Clause */
/* fault.h -- resolve a page fault to a frame; kernel: fs/dax.c (v4.14) */
#ifndef DAXCORE_FAULT_H
#define DAXCORE_FAULT_H

#include <errno.h>

#include "entry_lock.h"
#include "policy.h"
#include "vma.h"

/*
 * One fault of a given order (0 or DAX_PMD_ORDER; others fall back).
 * Returns DAX_VM_FAULT_* bits; vmf->error and vmf->reason say why when it
 * failed.  0 means: somebody else was quicker, the access is to be repeated.
 * NEEDDSYNC: it is to be finished with fault_outside().
 *
 * Context: vmf->area is the thread's; invalidate_lock held shared; may sleep.
 * Kernel: dax_iomap_fault().
 */
dax_vm_fault_t iomap_fault(struct dax_vm_fault *vmf, unsigned int order);

/*
 * What the memory manager does with an access to a page: a 2 MiB fault where
 * the vma takes those and none but a huge leaf stands there, else or on
 * fallback a 4 KiB one; a store to a page mapped read-only goes to the
 * policy's second step if it has one.  RETRY: the file is frozen, 4 KiB entries
 * are to make room for 2 MiB, or pages taken ahead are to be given back;
 * fault_outside() goes on with it.
 *
 * Context: as iomap_fault().  Kernel: __handle_mm_fault(), wp_pfn_shared().
 */
dax_vm_fault_t handle_mm_fault(struct dax_vm_fault *vmf);

/* -EIO: the block map says hole where the tree has a block. */
int block_lost(const struct dax_vm_fault *vmf);

/* errno to fault bits: the one place. */
dax_vm_fault_t vmf_error(struct dax_vm_fault *vmf, int err);

/* Leaf insertion: "already there" is success, the CPU looks again. */
static inline dax_vm_fault_t vmf_inserted(struct dax_vm_fault *vmf, int err)
{
	if (likely(!err || err == -EBUSY))
		return DAX_VM_FAULT_NOPAGE;
	return vmf_error(vmf, err);
}

/* Count what ended in SIGBUS or OOM. */
void count_fault_error(struct dax_vm_fault *vmf, dax_vm_fault_t fault);

/*
 * Put the word for @pfn and @flags in place of the locked entry, old leaves
 * first; tag it DIRTY for a store that is not synchronous (vmf->pfn).  Kernel:
 * dax_insert_mapping_entry().
 */
void insert_mapping_entry(struct dax_vm_fault *vmf, struct dax_slot *slot,
			  dax_pfn_t pfn, unsigned int flags);

/*
 * The block map says that slot->index has frame @pfn (0: none that is known): a
 * locked data entry that shows another one is forgotten, leaves first, and so
 * is one of 2 MiB that a store of 4 KiB would make DIRTY although it shares
 * blocks.  @order: what is to be inserted; then the entry is of that size, or
 * a data entry of 2 MiB that agrees.
 *
 * Return: 0, or -ENOMEM: the entry is EMPTY, of 2 MiB.
 */
int settle_mapping_entry_slow(struct dax_slot *slot, dax_pfn_t pfn,
			      unsigned int order, bool write);

/* The ordinary cases, inline: no block yet, or 4 KiB of the right one. */
static inline int settle_mapping_entry(struct dax_slot *slot, dax_pfn_t pfn,
				       unsigned int order, bool write)
{
	void *entry = slot->iter.entry;

	if (likely(entry == dax_radix_locked_entry(pfn, 0) ||
		   !dax_is_data_entry(entry)))
		return 0;
	return settle_mapping_entry_slow(slot, pfn, order, write);
}

/* The policy of the engine: holes show the common zero page. */
extern const struct dax_policy zero_page_policy;

#endif

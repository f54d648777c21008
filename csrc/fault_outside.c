/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fault_outside.c -- what a fault leaves to be done with no lock held
 *
 *   RETRY       the file is frozen: wait for the thaw, repeat the fault
 *               4 KiB entries are in the way: remove them, repeat the fault
 *               no block is left, but the file has some ahead: give them back,
 *               repeat the fault
 *   NEEDDSYNC   the block map saves where the block is, then the leaf comes
 *
 * Owns: nothing.
 * Locks: comes and goes with invalidate_lock shared, has none in between; an
 *        entry lock while the leaf is inserted.
 * Kernel: dax_finish_sync_fault(), dax_insert_pfn_mkwrite() (v4.15).
 * Differs: there the file's invalidate_lock is held across the sync; here the
 *          file may be truncated meanwhile, and the fault is then repeated.
 */
#include "fault_outside.h"

#include <errno.h>

#include "ahead.h"
#include "collect.h"
#include "entry_lock.h"
#include "fault_delivery.h"
#include "fault.h"
#include "freeze.h"
#include "writeback.h"

/* ---- synchronous faults --------------------------------------------------------- */

/* Does the entry show the frame that the fault, @arg, was to insert? */
static bool shows_frame(const struct dax_slot *slot, const void *arg)
{
	const struct radix_tree_iter *iter = &slot->iter;
	const struct dax_vm_fault *vmf = arg;

	return radix_tree_exceptional_entry(iter->entry) &&
	       dax_is_data_entry(iter->entry) && iter->order >= vmf->order &&
	       dax_radix_pfn(iter->entry) + (slot->index - iter->index) == vmf->pfn;
}

/* Lock the entry as the fault left it; false: it is another, or gone. */
static bool lock_synced_entry(const struct dax_vm_fault *vmf,
			      struct dax_slot *slot)
{
	/* A block freed and taken again has not been saved. */
	if (slot->mapping->layout_seq != vmf->layout_seq ||
	    mapping_is_frozen(slot->mapping))
		return false;
	return lock_slot_if(slot, shows_frame, vmf);
}

static dax_vm_fault_t insert_pfn_mkwrite(struct dax_vm_fault *vmf)
{
	const struct dax_vm_ops *ops = vmf->vma->vm_ops;
	int ret;

	percpu_inc(vmf->area, DAX_STAT_INSERT_PFN_MKWRITE);
	if (vmf->order)
		ret = ops->insert_pfn_pmd(vmf, vmf->pfn, true);
	else
		ret = ops->insert_mixed(vmf, vmf->pfn, true);
	return vmf_inserted(vmf, ret);
}

/* invalidate_lock shared.  0: the fault is to be repeated. */
static dax_vm_fault_t finish_sync_fault(struct dax_vm_fault *vmf)
{
	dax_vm_fault_t fault = 0;
	struct dax_slot slot;

	dax_test_yield(DAX_TEST_SYNC_FAULT);
	dax_slot_init(&slot, vmf->vma->mapping, vmf->area,
		      radix_tree_canonical(vmf->pgoff, vmf->order));
	if (lock_synced_entry(vmf, &slot)) {
		dax_tag_dirty(&slot);
		fault = insert_pfn_mkwrite(vmf);
		put_locked_mapping_entry(&slot);
	} else {
		percpu_inc(vmf->area, DAX_STAT_INSERT_PFN_MKWRITE_NO_ENTRY);
	}
	return fault;
}

/* ---- the way out and back --------------------------------------------------------- */

/* No lock held.  0, or -errno. */
static int wait_outside(struct dax_vm_fault *vmf, dax_vm_fault_t fault)
{
	struct dax_mapping *mapping = vmf->vma->mapping;

	if (fault & DAX_VM_FAULT_NEEDDSYNC)
		return sync_block_map(mapping);
	if (vmf->no_space) {
		vmf->no_space = false;
		return mapping_give_back_ahead(mapping);
	}
	if (vmf->write)
		return fault_retry_nowait ? -EINTR : freeze_wait(mapping);
	dax_test_yield(DAX_TEST_PROMOTE);
	vmf->promoted = true;
	return promote(mapping, vmf->promote - 1);
}

/* invalidate_lock shared.  Return: the bits the fault ends with, 0: repeat it. */
static dax_vm_fault_t finish_fault(struct dax_vm_fault *vmf,
				   dax_vm_fault_t fault, int err)
{
	dax_vm_fault_t finished = 0;

	if (err)
		finished = vmf_error(vmf, err);
	else if (fault & DAX_VM_FAULT_NEEDDSYNC)
		finished = finish_sync_fault(vmf);
	vmf->pfn = 0;
	if (finished & DAX_VM_FAULT_ERROR)
		count_fault_error(vmf, finished);
	return finished ? finished | (fault & DAX_VM_FAULT_MAJOR) : 0;
}

int fault_outside(struct dax_vm_fault *vmf, dax_vm_fault_t *fault)
{
	struct dax_mapping *mapping = vmf->vma->mapping;
	int err, ret;

	mapping_unlock_shared(mapping, vmf->area);
	err = wait_outside(vmf, *fault);
	if (err == -EINTR && *fault & DAX_VM_FAULT_RETRY)
		return err;
	ret = mapping_relock_shared(mapping, vmf->area);
	if (ret)
		return ret;
	*fault = finish_fault(vmf, *fault, err);
	return 0;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * policy.h -- what a read of a hole inserts: the table a policy fills
 *
 * The zero-page policy fills it with load_hole and init.  The page-cache policy
 * (page_cache.c) puts page pointers into the tree and needs the rest.  A page
 * pointer found in a tree whose policy has no grab_page is -EIO.
 */
#ifndef DAXCORE_POLICY_H
#define DAXCORE_POLICY_H

#include "entry_lock.h"
#include "vma.h"

struct dax_policy {
	enum dax_policy_kind kind;

	/* Read fault on a hole, entry locked: insert what it shows. */
	dax_vm_fault_t (*load_hole)(struct dax_vm_fault *vmf,
				    struct dax_slot *slot);
	/*
	 * The walk met page pointer @slot->iter.entry: take a reference and
	 * its lock.  0, or -EAGAIN: it went away, look again.
	 */
	int (*grab_page)(struct dax_slot *slot);
	/* Undo grab_page(). */
	void (*put_page)(struct dax_slot *slot);
	/* The grabbed page gives way to the locked data entry @entry, its
	 * leaves are gone already. */
	void (*replace_hole)(struct dax_slot *slot, void *entry);
	/* The grabbed page leaves the tree. */
	void (*delete_page)(struct dax_slot *slot);
	/* Second step of a write, on a page that is mapped read-only.  Where
	 * it is there, insertion never makes a leaf writable at once. */
	dax_vm_fault_t (*pfn_mkwrite)(struct dax_vm_fault *vmf);

	int (*init)(struct dax_mapping *mapping, unsigned int page_pool);
	void (*fini)(struct dax_mapping *mapping);
	uint64_t (*bytes)(struct dax_mapping *mapping);
};

#endif

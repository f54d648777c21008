/* SPDX-License-Identifier: BSD-3-Clause */
/* fault_outside.h -- what a fault leaves to be done with no lock held */
#ifndef DAXCORE_FAULT_OUTSIDE_H
#define DAXCORE_FAULT_OUTSIDE_H

#include "vma.h"

/* Bits of a fault that is not at its end. */
enum { FAULT_OUTSIDE = DAX_VM_FAULT_NEEDDSYNC | DAX_VM_FAULT_RETRY };

/*
 * Go on with a fault that returned FAULT_OUTSIDE bits: drop invalidate_lock, do
 * what cannot be done under it, take it again, and finish.
 * @fault: in: what the fault returned; out: the bits it ends with, 0: it is to
 *	   be repeated
 *
 * Context: invalidate_lock shared, dropped meanwhile; no entry lock.
 * Return: 0 with the lock held; -errno (-EINTR: the file is frozen, and a signal came or
 * fault_retry_nowait is set; -ESTALE: a child was forked meanwhile) and it is not.
 */
int fault_outside(struct dax_vm_fault *vmf, dax_vm_fault_t *fault);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vma_real.h -- real addresses: loads and stores are the CPU's
 *
 * The page table of vma_soft, carried over into that of the CPU.  Behind a leaf
 * there is
 *
 *   zero frame      anonymous memory that shows the kernel's zero page, and is
 *                   write-protected: the first store is a fault
 *   device frame    a piece of the window's file, shared, writable at once; if its
 *                   leaf is not, stores to it are found out by write protection
 *                   (private mapping: a private piece, the kernel copies)
 *   the same, when its block is shared by clones or the file is frozen: a piece
 *                   that is read-only, a store is SIGSEGV first and then a fault
 *   host memory     anonymous memory with a copy
 *   no leaf         anonymous memory without a page: the first touch is a fault
 *
 * fault_delivery.h brings the faults here.
 */
#ifndef DAXCORE_VMA_REAL_H
#define DAXCORE_VMA_REAL_H

#include "mapping.h"

int vma_real_new(struct dax_vma **ret_vma, struct dax_mapping *mapping,
		 const struct dax_vma_attr *attr);

/* How stores of the CPU to blocks are found out; NULL: there are none. */
const char *vma_real_dirty_tracking(const struct dax_vma *vma);

/* Address of its first byte; NULL: it is soft. */
void *vma_real_address(const struct dax_vma *vma);

/* The calls of daxcore.h of the same names, for a real mapping. */
ssize_t vma_real_read(struct dax_vma *vma, void *buf, size_t len, uint64_t offset,
		      struct dax_fault_info *info);
ssize_t vma_real_write(struct dax_vma *vma, const void *buf, size_t len,
		       uint64_t offset, struct dax_fault_info *info);
int64_t vma_real_fault_range(struct dax_vma *vma, dax_pgoff_t pgoff,
			     uint64_t nr_pages, bool write, uint64_t *latencies,
			     size_t nr_latencies, struct dax_fault_info *info);
int64_t vma_real_fault_many(struct dax_vma *vma, const dax_pgoff_t *pgoffs, size_t nr,
			    bool write, uint64_t *latencies, size_t nr_latencies,
			    struct dax_fault_info *info);

/* After a fault by a call, of any mapping, which returned @ret: stores of the CPU that
 * met its zeroes get their blocks.  Return: @ret, or -errno of that. */
int64_t vma_real_absorb(struct dax_vma *vma, int64_t ret);

int vma_real_memory(struct dax_vma *vma, struct dax_memory_info *ret_memory);

/* Does [addr, addr + len) meet a real mapping of this process? */
bool vma_real_overlaps(const void *addr, size_t len);

#endif

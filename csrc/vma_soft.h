/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vma_soft.h -- a software page table: loads and stores are calls
 *
 *   pud[]  one slot per GiB, from the GiB that holds vm_start
 *    +----+----+
 *    |    |  *-|--> pmd table: 512 slots of 2 MiB
 *    +----+----+    +----+----+-----+
 *                   |NONE|HUGE|  *--|--> pte table: 512 leaves of 4 KiB
 *                   +----+----+-----+
 *
 * A leaf is one word: frame number from bit 12 on, flags below.
 */
#ifndef DAXCORE_VMA_SOFT_H
#define DAXCORE_VMA_SOFT_H

#include "mapping.h"

enum leaf_bits {
	LEAF_PRESENT = 0x01,
	LEAF_WRITE = 0x02,
	LEAF_DIRTY = 0x04,
	LEAF_YOUNG = 0x08,
	LEAF_ANON = 0x10,	/* a private copy, owned by the leaf */
	LEAF_TABLE = 0x20,	/* pmd slot: address of a pte table, 64-aligned */
	LEAF_HUGE = 0x40,	/* 2 MiB */
	LEAF_FLAGS = 0xfff
};

int vma_soft_new(struct dax_vma **ret_vma, struct dax_mapping *mapping,
		 const struct dax_vma_attr *attr);

/* Its checks of the arguments, and its calls: what a table behind which
 * something else stands is made with. */
int vma_check(struct dax_mapping *mapping, const struct dax_vma_attr *attr);
int vma_soft_link(struct dax_vma **ret_vma, struct dax_mapping *mapping,
		  const struct dax_vma_attr *attr, const struct dax_vm_ops *vm_ops,
		  struct vma_real *real);
extern const struct dax_vm_ops vma_soft_ops;

/* The first leaf at or after *pgoff: true; its word, and for how many pages
 * from *pgoff on, up to @last, it stands. */
bool vma_soft_next_leaf(struct dax_vma *vma, dax_pgoff_t *pgoff, dax_pgoff_t last,
			uint64_t *ret_leaf, dax_pgoff_t *ret_nr);

/* A 2 MiB zero leaf around @pgoff becomes 512 of 4 KiB.  false: no memory. */
bool vma_soft_split_zero(struct dax_vma *vma, dax_pgoff_t pgoff);

void vma_get(struct dax_vma *vma);
void vma_put(struct dax_vma *vma);

/* Free what vma_put() could not free while the thread was inside the file; what
 * still cannot be freed is left.  The caller holds a reference to the file. */
void vma_reap(struct dax_mapping *mapping);

/* The calls of daxcore.h of the same names. */
int vma_fault(struct dax_vma *vma, dax_pgoff_t pgoff, bool write,
	      struct dax_fault_info *info);
int64_t vma_fault_range(struct dax_vma *vma, dax_pgoff_t pgoff,
			uint64_t nr_pages, bool write, uint64_t *latencies,
			size_t nr_latencies, struct dax_fault_info *info);
int64_t vma_fault_many(struct dax_vma *vma, const dax_pgoff_t *pgoffs,
		       size_t nr, bool write, uint64_t *latencies,
		       size_t nr_latencies, struct dax_fault_info *info);

/*
 * Touch a page, and with it up to @nr pages from it on: fault_around.h.
 * Return: pages that were, at least 1; or what vma_fault_range() returns for
 * the one.  Context: as vma_fault_range().
 */
int64_t vma_fault_around(struct dax_vma *vma, dax_pgoff_t pgoff, unsigned int nr,
			 bool write);
ssize_t vma_read(struct dax_vma *vma, void *buf, size_t len, uint64_t offset,
		 struct dax_fault_info *info);
ssize_t vma_write(struct dax_vma *vma, const void *buf, size_t len,
		  uint64_t offset, struct dax_fault_info *info);
int vma_dontneed(struct dax_vma *vma, uint64_t offset, uint64_t len);
int vma_pagemap(struct dax_vma *vma, dax_pgoff_t pgoff, dax_pfn_t *pfns,
		uint64_t nr_pages);

/* Bytes of the leaves, by kind.  Context: the caller holds invalidate_lock. */
void vma_soft_memory(struct dax_vma *vma, struct dax_memory_info *ret_memory);

/* The leaf word of a page as it is now, 0 if none. */
uint64_t vma_soft_leaf(struct dax_vma *vma, dax_pgoff_t pgoff);

#endif

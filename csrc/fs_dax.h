/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fs_dax.h -- the trace events of the fault path and of writeback
 *
 * A call per event, under the kernel's name and with the kernel's arguments.
 * While nobody looks each is one load and one branch; arguments are pointers
 * and words that the caller has anyway, the rest is fetched behind the branch.
 *
 * Kernel: include/trace/events/fs_dax.h (v4.14); dax_pfn_mkwrite and
 * dax_pfn_mkwrite_no_entry, of the page-cache policy alone: v4.13.
 */
#ifndef DAXCORE_FS_DAX_H
#define DAXCORE_FS_DAX_H

#include "mapping.h"
#include "trace.h"
#include "vma.h"

/* Behind the branch. */
void trace_fault(const struct dax_vm_fault *vmf, unsigned int event,
		 dax_vm_fault_t result);
void trace_insert(const struct dax_vm_fault *vmf, unsigned int event,
		  dax_pfn_t pfn, const void *radix_entry);
void trace_writeback(const struct dax_mapping *mapping, unsigned int event,
		     dax_pgoff_t pgoff, dax_pgoff_t end);

#define DEFINE_FAULT_EVENT(name, id)					\
	static __always_inline_fn void					\
	trace_##name(const struct dax_vm_fault *vmf, dax_vm_fault_t result) \
	{								\
		if (trace_enabled())					\
			trace_fault(vmf, id, result);			\
	}

/* At the beginning @result is 0. */
DEFINE_FAULT_EVENT(dax_pte_fault, DAX_TRACE_PTE_FAULT)
DEFINE_FAULT_EVENT(dax_pte_fault_done, DAX_TRACE_PTE_FAULT_DONE)
DEFINE_FAULT_EVENT(dax_pmd_fault, DAX_TRACE_PMD_FAULT)
DEFINE_FAULT_EVENT(dax_pmd_fault_done, DAX_TRACE_PMD_FAULT_DONE)
DEFINE_FAULT_EVENT(dax_load_hole, DAX_TRACE_LOAD_HOLE)
DEFINE_FAULT_EVENT(dax_pfn_mkwrite, DAX_TRACE_PFN_MKWRITE)
DEFINE_FAULT_EVENT(dax_pfn_mkwrite_no_entry, DAX_TRACE_PFN_MKWRITE_NO_ENTRY)
#undef DEFINE_FAULT_EVENT

#define DEFINE_INSERT_EVENT(name, id)					\
	static __always_inline_fn void					\
	trace_##name(const struct dax_vm_fault *vmf, dax_pfn_t pfn,	\
		     const void *radix_entry)				\
	{								\
		if (trace_enabled())					\
			trace_insert(vmf, id, pfn, radix_entry);	\
	}

/* @pfn and @radix_entry: what was inserted; a fallback has what it got to,
 * else 0 and NULL. */
DEFINE_INSERT_EVENT(dax_insert_mapping, DAX_TRACE_INSERT_MAPPING)
DEFINE_INSERT_EVENT(dax_pmd_load_hole, DAX_TRACE_PMD_LOAD_HOLE)
DEFINE_INSERT_EVENT(dax_pmd_load_hole_fallback, DAX_TRACE_PMD_LOAD_HOLE_FALLBACK)
DEFINE_INSERT_EVENT(dax_pmd_insert_mapping, DAX_TRACE_PMD_INSERT_MAPPING)
DEFINE_INSERT_EVENT(dax_pmd_insert_mapping_fallback,
		    DAX_TRACE_PMD_INSERT_MAPPING_FALLBACK)
#undef DEFINE_INSERT_EVENT

#define DEFINE_WRITEBACK_EVENT(name, id)				\
	static inline void						\
	trace_##name(const struct dax_mapping *mapping, dax_pgoff_t pgoff, \
		     dax_pgoff_t end)					\
	{								\
		if (trace_enabled())					\
			trace_writeback(mapping, id, pgoff, end);	\
	}

/* Pages @pgoff (start_index) to @end (end_index), both included. */
DEFINE_WRITEBACK_EVENT(dax_writeback_range, DAX_TRACE_WRITEBACK_RANGE)
DEFINE_WRITEBACK_EVENT(dax_writeback_range_done, DAX_TRACE_WRITEBACK_RANGE_DONE)
/* One entry: its first page and, in place of the end, its pages (pglen). */
DEFINE_WRITEBACK_EVENT(dax_writeback_one, DAX_TRACE_WRITEBACK_ONE)
#undef DEFINE_WRITEBACK_EVENT

#endif

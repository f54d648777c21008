/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fs_dax.c -- the trace events of the fault path and of writeback
 *
 * Owns: nothing; makes the event, fires the probe, hands the event on.
 * Locks: none; callers hold an entry lock, invalidate_lock or neither.
 * Kernel: include/trace/events/fs_dax.h (v4.14).
 * Differs: a page table has addresses of pages, so `address` is the page's; an
 *          event also says why a fault fell back or failed.
 */
#include "fs_dax.h"

#include "entry.h"
#include "usdt.h"

#ifdef DAX_HAVE_USDT
#define SEMAPHORE(id, name)						\
	extern union trace_switch USDT_SEMAPHORE(name)			\
		__attribute__((visibility("hidden")));
TRACE_EVENTS(SEMAPHORE)
#endif

/* ---- probes: where in the file, then what the kernel's event has ------------- */

static void probe_fault(const struct dax_trace_event *e)
{
#define PROBE(id, name)							\
	case DAX_TRACE_##id:						\
		USDT_PROBE(name, e->ino, e->shared, e->write, e->address, \
			   e->pgoff, e->result);			\
		break;
#define PMD_PROBE(id, name)						\
	case DAX_TRACE_##id:						\
		USDT_PROBE(name, e->ino, e->shared, e->write, e->address, \
			   e->vm_start, e->vm_end, e->pgoff, e->max_pgoff, \
			   e->result);					\
		break;
	switch (e->event) {
	PROBE(PTE_FAULT, dax_pte_fault)
	PROBE(PTE_FAULT_DONE, dax_pte_fault_done)
	PROBE(LOAD_HOLE, dax_load_hole)
	PROBE(PFN_MKWRITE, dax_pfn_mkwrite)
	PROBE(PFN_MKWRITE_NO_ENTRY, dax_pfn_mkwrite_no_entry)
	PMD_PROBE(PMD_FAULT, dax_pmd_fault)
	PMD_PROBE(PMD_FAULT_DONE, dax_pmd_fault_done)
	}
#undef PROBE
#undef PMD_PROBE
}

static void probe_insert(const struct dax_trace_event *e)
{
#define PROBE(id, name)							\
	case DAX_TRACE_##id:						\
		USDT_PROBE(name, e->ino, e->shared, e->write, e->address, \
			   e->nr_pages, e->pfn, e->radix_entry);	\
		break;
	switch (e->event) {
	PROBE(INSERT_MAPPING, dax_insert_mapping)
	PROBE(PMD_LOAD_HOLE, dax_pmd_load_hole)
	PROBE(PMD_LOAD_HOLE_FALLBACK, dax_pmd_load_hole_fallback)
	PROBE(PMD_INSERT_MAPPING, dax_pmd_insert_mapping)
	PROBE(PMD_INSERT_MAPPING_FALLBACK, dax_pmd_insert_mapping_fallback)
	}
#undef PROBE
}

static void probe_writeback(const struct dax_trace_event *e)
{
	switch (e->event) {
	case DAX_TRACE_WRITEBACK_RANGE:
		USDT_PROBE(dax_writeback_range, e->ino, e->pgoff, e->max_pgoff);
		break;
	case DAX_TRACE_WRITEBACK_RANGE_DONE:
		USDT_PROBE(dax_writeback_range_done, e->ino, e->pgoff, e->max_pgoff);
		break;
	case DAX_TRACE_WRITEBACK_ONE:
		USDT_PROBE(dax_writeback_one, e->ino, e->pgoff, e->nr_pages);
		break;
	}
}

/* ---- events ------------------------------------------------------------------- */

static struct dax_trace_event vmf_event(const struct dax_vm_fault *vmf,
					unsigned int event)
{
	const struct dax_vma *vma = vmf->vma;

	return (struct dax_trace_event){
		.event = (uint16_t)event,
		.ino = mapping_ino(vma->mapping),
		.address = vma->vm_start +
			   ((vmf->pgoff - vma->vm_pgoff) << DAX_PAGE_SHIFT),
		.pgoff = vmf->pgoff,
		.write = vmf->write || vmf->cow,
		.shared = vma_is_shared(vma),
	};
}

static void add_vma(struct dax_trace_event *e, const struct dax_vma *vma)
{
	e->vm_start = vma->vm_start;
	e->vm_end = vma->vm_start + (vma->nr_pages << DAX_PAGE_SHIFT);
	e->max_pgoff = mapping_max_pgoff(vma->mapping);
}

/* What a vmf says of an earlier fault is not about this one. */
static void add_result(struct dax_trace_event *e, const struct dax_vm_fault *vmf,
		       dax_vm_fault_t result)
{
	e->result = result;
	if (result & DAX_VM_FAULT_FALLBACK)
		e->reason = (uint16_t)vmf->reason;
	else if (result & DAX_VM_FAULT_ERROR)
		e->error = vmf->error;
}

__cold void trace_fault(const struct dax_vm_fault *vmf, unsigned int event,
			dax_vm_fault_t result)
{
	struct dax_trace_event e = vmf_event(vmf, event);

	if (event == DAX_TRACE_PMD_FAULT || event == DAX_TRACE_PMD_FAULT_DONE)
		add_vma(&e, vmf->vma);
	add_result(&e, vmf, result);
	probe_fault(&e);
	trace_record(&e);
}

static bool is_fallback(unsigned int event)
{
	return event == DAX_TRACE_PMD_LOAD_HOLE_FALLBACK ||
	       event == DAX_TRACE_PMD_INSERT_MAPPING_FALLBACK;
}

__cold void trace_insert(const struct dax_vm_fault *vmf, unsigned int event,
			 dax_pfn_t pfn, const void *radix_entry)
{
	struct dax_trace_event e = vmf_event(vmf, event);

	e.pfn = pfn;
	e.radix_entry = dax_from_slot(radix_entry);
	e.nr_pages = event == DAX_TRACE_INSERT_MAPPING ? 1 : DAX_PMD_NR_PAGES;
	if (is_fallback(event))
		e.reason = (uint16_t)vmf->reason;
	probe_insert(&e);
	trace_record(&e);
}

__cold void trace_writeback(const struct dax_mapping *mapping,
			    unsigned int event, dax_pgoff_t pgoff,
			    dax_pgoff_t end)
{
	struct dax_trace_event e = {
		.event = (uint16_t)event,
		.ino = mapping_ino(mapping),
		.pgoff = pgoff,
	};

	if (event == DAX_TRACE_WRITEBACK_ONE)
		e.nr_pages = (uint32_t)end;
	else
		e.max_pgoff = end;
	probe_writeback(&e);
	trace_record(&e);
}

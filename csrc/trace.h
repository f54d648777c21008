/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * trace.h -- trace events in a ring per thread
 *
 *   ring of thread A   | n-7 | n-6 | ... | n-1 |  n  |      a thread writes
 *   ring of thread B   |  0  |  1  |  2  |     |     |      its own ring alone
 *                                     ^
 *                                     cursor of trace 3, one per trace and ring
 *
 * A record is written first and counted in `head` afterwards, both in release
 * order; a reader copies a record and then looks at `head` again: if the
 * writer may have come round meanwhile the copy is thrown away.  Nobody waits
 * for anybody.
 *
 * Off, an event costs one load and one branch: trace_enabled().
 */
#ifndef DAXCORE_TRACE_H
#define DAXCORE_TRACE_H

#include <stdbool.h>

#include "daxcore/types.h"
#include "sys.h"

enum {
	TRACE_MAX = 64,			/* traces that can exist at once */
	TRACE_MAX_RINGS = 256,		/* then rings of ended threads are taken */
	TRACE_DEFAULT_EVENTS = 1 << 16,
	TRACE_MAX_EVENTS = 1 << 24,
	TRACE_MIN_EVENTS = 16
};

/* All events: the constant's name and the kernel's. */
#define TRACE_EVENTS(X)							\
	X(PTE_FAULT, dax_pte_fault)					\
	X(PTE_FAULT_DONE, dax_pte_fault_done)				\
	X(PMD_FAULT, dax_pmd_fault)					\
	X(PMD_FAULT_DONE, dax_pmd_fault_done)				\
	X(LOAD_HOLE, dax_load_hole)					\
	X(INSERT_MAPPING, dax_insert_mapping)				\
	X(PMD_LOAD_HOLE, dax_pmd_load_hole)				\
	X(PMD_LOAD_HOLE_FALLBACK, dax_pmd_load_hole_fallback)		\
	X(PMD_INSERT_MAPPING, dax_pmd_insert_mapping)			\
	X(PMD_INSERT_MAPPING_FALLBACK, dax_pmd_insert_mapping_fallback)	\
	X(PFN_MKWRITE, dax_pfn_mkwrite)					\
	X(PFN_MKWRITE_NO_ENTRY, dax_pfn_mkwrite_no_entry)		\
	X(WRITEBACK_RANGE, dax_writeback_range)				\
	X(WRITEBACK_RANGE_DONE, dax_writeback_range_done)		\
	X(WRITEBACK_ONE, dax_writeback_one)

/* One word to look at: traces that run, and tools attached to a probe.  Alone
 * in its lines: every fault reads it. */
union trace_switch {
	struct {
		_Atomic uint16_t semaphore;	/* of all probes, see usdt.h */
		_Atomic uint16_t traces;	/* guarded by the lock of trace.c */
	};
	_Atomic uint32_t any;
} __aligned(FALSE_SHARING);

/* Hidden here too: the load needs no address from a table then. */
extern union trace_switch trace_switch __attribute__((visibility("hidden")));

#ifdef DAX_NO_TRACE	/* to measure what the sites cost */
#define trace_enabled()	false
#else
static inline bool trace_enabled(void)
{
	return unlikely(READ_ONCE(trace_switch.any));
}
#endif

/*
 * Put an event into the calling thread's ring if a trace wants those of its
 * file; fills in time, thread and cpu.  Never fails: what finds no memory is
 * counted as lost.  Context: any lock may be held; sleeps for the lock of
 * trace.c at the thread's first event.
 */
void trace_record(struct dax_trace_event *event);

/* @ino: the file, 0 for all.  Return: 0, -EINVAL, -EBUSY, -ENOMEM. */
int trace_start(struct dax_trace **ret_trace, uint64_t ino, size_t nr_events);
void trace_stop(struct dax_trace *trace);
int64_t trace_read(struct dax_trace *trace, struct dax_trace_event *buf,
		   size_t nr);
uint64_t trace_lost(struct dax_trace *trace);
void trace_free(struct dax_trace *trace);

/* NULL: no such event. */
const char *trace_event_name(int event);

#endif

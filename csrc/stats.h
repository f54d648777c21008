/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stats.h -- what a file counts
 *
 * Counters are named after the kernel's fs_dax trace events and kept per
 * thread (percpu.h); fallbacks are counted by reason right behind them.
 */
#ifndef DAXCORE_STATS_H
#define DAXCORE_STATS_H

#include <stddef.h>

#include "daxcore/types.h"

enum dax_stat {
	DAX_STAT_PTE_FAULT,		/* passes through the PTE fault */
	DAX_STAT_PMD_FAULT,		/* passes through the PMD fault */
	DAX_STAT_PMD_FAULT_FALLBACK,
	DAX_STAT_LOAD_HOLE,		/* 4 KiB zero pages inserted */
	DAX_STAT_INSERT_MAPPING,	/* 4 KiB frames inserted */
	DAX_STAT_PMD_LOAD_HOLE,		/* 2 MiB zero pages inserted */
	DAX_STAT_PMD_INSERT_MAPPING,	/* 2 MiB frames inserted */
	DAX_STAT_PFN_MKWRITE,		/* second step of a two-step write */
	DAX_STAT_INSERT_PFN_MKWRITE,	/* synchronous faults finished */
	DAX_STAT_INSERT_PFN_MKWRITE_NO_ENTRY,	/* ... that must be repeated */
	DAX_STAT_COW_FAULT,		/* private copies made */
	DAX_STAT_MAJOR_FAULT,		/* faults that allocated blocks */
	DAX_STAT_FAULT_SIGBUS,
	DAX_STAT_FAULT_OOM,
	DAX_STAT_DOWNGRADE,		/* PMD entries given up for a PTE */
	DAX_STAT_PROMOTION,		/* 2 MiB cleared of zero or empty entries */
	DAX_STAT_EMPTY_LEFT,		/* faults that left an empty entry */
	DAX_STAT_EMPTY_COLLECTED,	/* empty entries removed */
	DAX_STAT_ENTRY_WAIT,		/* times a thread slept for an entry */
	DAX_STAT_ENTRY_INSERT,		/* entries that came into the tree */
	DAX_STAT_ENTRY_DELETE,		/* entries that left it */
	DAX_STAT_WRITEBACK_RANGE,	/* passes through a range */
	DAX_STAT_WRITEBACK_ONE,		/* entries flushed */
	DAX_STAT_WRITEBACK_VISIT,	/* entries looked at */
	DAX_STAT_FAULT_AROUND,		/* pages that came in runs */
	DAX_STAT_AHEAD_GIVEN_BACK,	/* pages taken ahead and not stored to */
	DAX_STAT_FALLBACK,		/* + enum dax_fallback_reason */
	DAX_NR_STATS = DAX_STAT_FALLBACK + DAX_NR_FALLBACK_REASONS
};

/* Gauges, reported behind the counters. */
enum dax_gauge {
	DAX_GAUGE_NREXCEPTIONAL,	/* entries in the tree, pages excluded */
	DAX_GAUGE_NRPAGES,		/* page pointers in the tree */
	DAX_GAUGE_TREE_BYTES,
	DAX_GAUGE_PAGE_TABLE_BYTES,
	DAX_GAUGE_PAGE_CACHE_BYTES,
	DAX_GAUGE_COW_BYTES,
	DAX_GAUGE_BLOCK_MAP_BYTES,
	DAX_GAUGE_ALLOCATED_BYTES,	/* blocks of the built-in map, of the sparse file */
	DAX_NR_GAUGES
};

/* Name of value @i of dax_mapping_stats(), NULL past the last. */
const char *stat_name(size_t i);
const char *fallback_reason_name(int reason);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stats.c -- names of what a file counts
 *
 * Owns: the name tables.  Locks: none.
 * Kernel: include/trace/events/fs_dax.h (v4.14) for the names.
 */
#include "stats.h"

static const char *const counter_names[DAX_STAT_FALLBACK] = {
	[DAX_STAT_PTE_FAULT] = "pte_fault",
	[DAX_STAT_PMD_FAULT] = "pmd_fault",
	[DAX_STAT_PMD_FAULT_FALLBACK] = "pmd_fault_fallback",
	[DAX_STAT_LOAD_HOLE] = "load_hole",
	[DAX_STAT_INSERT_MAPPING] = "insert_mapping",
	[DAX_STAT_PMD_LOAD_HOLE] = "pmd_load_hole",
	[DAX_STAT_PMD_INSERT_MAPPING] = "pmd_insert_mapping",
	[DAX_STAT_PFN_MKWRITE] = "pfn_mkwrite",
	[DAX_STAT_INSERT_PFN_MKWRITE] = "insert_pfn_mkwrite",
	[DAX_STAT_INSERT_PFN_MKWRITE_NO_ENTRY] = "insert_pfn_mkwrite_no_entry",
	[DAX_STAT_COW_FAULT] = "cow_fault",
	[DAX_STAT_MAJOR_FAULT] = "major_fault",
	[DAX_STAT_FAULT_SIGBUS] = "fault_sigbus",
	[DAX_STAT_FAULT_OOM] = "fault_oom",
	[DAX_STAT_DOWNGRADE] = "downgrade",
	[DAX_STAT_PROMOTION] = "promotion",
	[DAX_STAT_EMPTY_LEFT] = "empty_left",
	[DAX_STAT_EMPTY_COLLECTED] = "empty_collected",
	[DAX_STAT_ENTRY_WAIT] = "entry_wait",
	[DAX_STAT_ENTRY_INSERT] = "entry_insert",
	[DAX_STAT_ENTRY_DELETE] = "entry_delete",
	[DAX_STAT_WRITEBACK_RANGE] = "writeback_range",
	[DAX_STAT_WRITEBACK_ONE] = "writeback_one",
	[DAX_STAT_WRITEBACK_VISIT] = "writeback_visit",
	[DAX_STAT_FAULT_AROUND] = "fault_around",
	[DAX_STAT_AHEAD_GIVEN_BACK] = "ahead_given_back",
};

static const char *const fallback_names[DAX_NR_FALLBACK_REASONS] = {
	[DAX_FALLBACK_NONE] = "fallback_none",
	[DAX_FALLBACK_COLOUR] = "fallback_colour",
	[DAX_FALLBACK_COW] = "fallback_cow",
	[DAX_FALLBACK_VMA_START] = "fallback_vma_start",
	[DAX_FALLBACK_VMA_END] = "fallback_vma_end",
	[DAX_FALLBACK_EOF] = "fallback_eof",
	[DAX_FALLBACK_ENTRY_EXISTS] = "fallback_entry_exists",
	[DAX_FALLBACK_ENTRY_NOMEM] = "fallback_entry_nomem",
	[DAX_FALLBACK_ENTRY_EIO] = "fallback_entry_eio",
	[DAX_FALLBACK_IOMAP_ERROR] = "fallback_iomap_error",
	[DAX_FALLBACK_SHORT_EXTENT] = "fallback_short_extent",
	[DAX_FALLBACK_UNALIGNED_BLOCK] = "fallback_unaligned_block",
	[DAX_FALLBACK_DIRECT_ACCESS] = "fallback_direct_access",
	[DAX_FALLBACK_SHORT_ACCESS] = "fallback_short_access",
	[DAX_FALLBACK_UNALIGNED_PFN] = "fallback_unaligned_pfn",
	[DAX_FALLBACK_FOREIGN_PFN] = "fallback_foreign_pfn",
	[DAX_FALLBACK_INSERT_MAPPING] = "fallback_insert_mapping",
	[DAX_FALLBACK_NO_HUGE_ZERO] = "fallback_no_huge_zero",
	[DAX_FALLBACK_INSERT_HOLE] = "fallback_insert_hole",
	[DAX_FALLBACK_PMD_OCCUPIED] = "fallback_pmd_occupied",
	[DAX_FALLBACK_HOLE_WRITE] = "fallback_hole_write",
	[DAX_FALLBACK_UNKNOWN_TYPE] = "fallback_unknown_type",
	[DAX_FALLBACK_SIZE] = "fallback_size",
};

static const char *const gauge_names[DAX_NR_GAUGES] = {
	[DAX_GAUGE_NREXCEPTIONAL] = "nrexceptional",
	[DAX_GAUGE_NRPAGES] = "nrpages",
	[DAX_GAUGE_TREE_BYTES] = "tree_bytes",
	[DAX_GAUGE_PAGE_TABLE_BYTES] = "page_table_bytes",
	[DAX_GAUGE_PAGE_CACHE_BYTES] = "page_cache_bytes",
	[DAX_GAUGE_COW_BYTES] = "cow_bytes",
	[DAX_GAUGE_BLOCK_MAP_BYTES] = "block_map_bytes",
	[DAX_GAUGE_ALLOCATED_BYTES] = "allocated_bytes",
};

const char *stat_name(size_t i)
{
	if (i < DAX_STAT_FALLBACK)
		return counter_names[i];
	if (i < DAX_NR_STATS)
		return fallback_names[i - DAX_STAT_FALLBACK];
	if (i < (size_t)DAX_NR_STATS + DAX_NR_GAUGES)
		return gauge_names[i - DAX_NR_STATS];
	return NULL;
}

const char *fallback_reason_name(int reason)
{
	if (reason < 0 || reason >= DAX_NR_FALLBACK_REASONS)
		return NULL;
	return fallback_names[reason] + sizeof("fallback_") - 1;
}

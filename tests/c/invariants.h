/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * invariants.h -- what must hold of a file whenever nobody is inside it
 *
 *	check_invariants(mapping)	after every operation, no thread inside
 *	check_leaf_bytes(mapping)	the same, reads what the leaves show
 *	check_addresses(mapping)	the same, for real mappings: what stands
 *					behind the leaves, and what the CPU reads
 *	check_owners(dev, files, n)	the same, for all files of a device
 *	check_after_fsync(mapping, first, last)
 *					after an fsync of these pages
 *	check_wait_table()		nobody in the process waits
 *	check_tree_exact(root)		after an exclusive operation over all of
 *					the tree: no empty node, no stale tag
 *
 * The tree is walked node by node, not with the calls under test.  Reports
 * through CHECK.  The marks in the code (docs/testing.md has all of them; I13,
 * I14 and I16 speak of instants and are checked by tests with hooks):
 *
 *	I1  a slot is empty, a node, a page, or one of data, zero, empty
 *	I2  zero and empty entries have no frame and are never dirty
 *	I3  the file counts its entries right
 *	I4  nodes are counted right
 *	I5  no two entries overlap
 *	I6  nothing is locked, nobody waits
 *	I7  a zero leaf has a zero entry, and is never writable or dirty
 *	I8  a writable or dirty leaf has a data entry that is dirty or ahead
 *	I9  after fsync: nothing dirty, no leaf that can be stored through
 *	I10 data entries show the blocks the block map says, zero entries holes
 *	I11 no entry and no leaf behind the end of the file
 *	I12 a leaf that shows the file shows what pread returns
 *	I15 private copies are in private mappings only, and all are counted
 *	I17 TOWRITE only together with DIRTY
 *	I18 nobody waits, for entries that are there or not
 *	R1  a zero leaf of a real mapping: the page is there, and a store is told of
 *	R2  no leaf: nothing is there
 *	R3  what an address shows is what pread returns
 *	S1  a DIRTY entry shares no block
 *	S2  a block has as many owners as words of block maps name it; it is in
 *	    use if it has one, and at rest nobody pins it
 */
#ifndef INVARIANTS_H
#define INVARIANTS_H

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "blocks.h"
#include "daxcore.h"
#include "entry_lock.h"
#include "frames.h"
#include "iomap.h"
#include "policy.h"
#include "rw.h"
#include "sparse_file.h"
#include "tap.h"
#include "vma_real.h"
#include "vma_soft.h"

/* Leaves of a vma beyond this are not looked at. */
enum { INVARIANTS_MAX_PAGES = 1 << 20 };

struct invariants {
	struct dax_mapping *mapping;	/* NULL: a tree alone */
	struct radix_tree_root *root;
	bool exact;
	bool bytes;		/* read what leaves show */
	bool synced;		/* fsync of pages [first, last] just returned */
	dax_pgoff_t first, last;
	bool cut;		/* a vma was too long to be looked at whole */
	uint64_t nodes;
	uint64_t entries;	/* exceptional */
	uint64_t pages;		/* page pointers */
	uint64_t cow_pages;
};

/* ---- nodes and tags: I1, I4, I5 ------------------------------------------- */

static inline bool inv_tag(const struct radix_tree_node *node, unsigned int tag,
			   unsigned int offset)
{
	return node->tags[tag][offset / 64] >> (offset % 64) & 1;
}

static inline bool inv_any_tag(const struct radix_tree_node *node,
			       unsigned int tag)
{
	for (unsigned int i = 0; i < RADIX_TREE_TAG_LONGS; i++)
		if (node->tags[tag][i])
			return true;
	return false;
}

/* A tag of a child shows in the parent; the other way only if @exact. */
static inline void inv_child_tags(const struct invariants *inv,
				  const struct radix_tree_node *node,
				  unsigned int offset,
				  const struct radix_tree_node *child)
{
	for (unsigned int tag = 0; tag < RADIX_TREE_MAX_TAGS; tag++) {
		bool below = inv_any_tag(child, tag);
		bool here = inv_tag(node, tag, offset);

		CHECK(!below || here);
		CHECK(!inv->exact || !here || below);
	}
}

static inline void inv_no_tags(const struct radix_tree_node *node,
			       unsigned int offset)
{
	CHECK(!inv_tag(node, DAX_PAGECACHE_TAG_DIRTY, offset));
	CHECK(!inv_tag(node, DAX_PAGECACHE_TAG_TOWRITE, offset));
	CHECK(!inv_tag(node, DAX_PAGECACHE_TAG_AHEAD, offset));
}

/* Does fsync's range touch 2^@order pages from @index on? */
static inline bool inv_synced(const struct invariants *inv, dax_pgoff_t index,
			      unsigned int order)
{
	return inv->synced && index <= inv->last &&
	       index + ((dax_pgoff_t)1 << order) > inv->first;
}

/* ---- entries: I1, I2, I3, I6, I9, I11, I17 ---------------------------------- */

static inline void inv_word(void *entry, unsigned int order)
{
	CHECK(!dax_is_locked(entry));					/* I6 */
	CHECK(!(dax_is_zero_entry(entry) && dax_is_empty_entry(entry)));/* I1 */
	EQ(dax_radix_order(entry), order);				/* I5 */
	if (!dax_is_data_entry(entry))
		EQ(dax_radix_pfn(entry), 0);				/* I2 */
}

static inline void inv_file_entry(struct invariants *inv,
				  const struct radix_tree_node *node,
				  unsigned int offset, dax_pgoff_t index,
				  void *entry)
{
	struct dax_mapping *mapping = inv->mapping;
	bool data = false;

	if (radix_tree_exceptional_entry(entry)) {
		inv_word(entry, node->shift);
		data = dax_is_data_entry(entry);
	} else {
		CHECK(((uintptr_t)entry & 3) == 0);			/* I1 */
		CHECK(mapping->policy->grab_page);
		EQ(node->shift, 0);
	}
	if (!data)
		inv_no_tags(node, offset);				/* I2 */
	if (inv_synced(inv, index, node->shift))
		inv_no_tags(node, offset);				/* I9 */
	CHECK(!inv_tag(node, DAX_PAGECACHE_TAG_TOWRITE, offset) ||
	      inv_tag(node, DAX_PAGECACHE_TAG_DIRTY, offset));		/* I17 */
	CHECK(index + ((dax_pgoff_t)1 << node->shift) <=
	      mapping_max_pgoff(mapping));				/* I11 */
}

static inline void inv_entry(struct invariants *inv,
			     const struct radix_tree_node *node,
			     unsigned int offset, dax_pgoff_t index, void *entry)
{
	if (radix_tree_exceptional_entry(entry))
		inv->entries++;
	else
		inv->pages++;
	if (inv->mapping)
		inv_file_entry(inv, node, offset, index, entry);
}

static inline void inv_node(struct invariants *inv,
			    const struct radix_tree_node *node, dax_pgoff_t base)
{
	unsigned int count = 0, exceptional = 0;

	inv->nodes++;
	for (unsigned int i = 0; i < RADIX_TREE_MAP_SIZE; i++) {
		dax_pgoff_t index = base + ((dax_pgoff_t)i << node->shift);
		void *entry = node->slots[i];

		if (!entry) {
			inv_no_tags(node, i);
			continue;
		}
		count++;
		exceptional += radix_tree_exceptional_entry(entry);
		if (radix_tree_is_internal_node(entry)) {
			const struct radix_tree_node *child = entry_to_node(entry);

			MUST(node->shift >= RADIX_TREE_MAP_SHIFT);
			CHECK(child->parent == node);
			EQ(child->offset, i);
			EQ(child->shift, node->shift - RADIX_TREE_MAP_SHIFT);
			inv_child_tags(inv, node, i, child);
			inv_node(inv, child, index);
		} else {
			inv_entry(inv, node, i, index, entry);
		}
	}
	EQ(radix_tree_node_count(node), count);				/* I4 */
	EQ(radix_tree_node_exceptional(node), exceptional);
	CHECK(!inv->exact || count);
}

static inline void inv_tree(struct invariants *inv)
{
	uintptr_t rnode = inv->root->rnode;
	const struct radix_tree_node *top = rnode_node(rnode);

	if (top) {
		CHECK(!top->parent);
		EQ(top->shift, rnode_shift(rnode));
		inv_node(inv, top, 0);
	}
	EQ(inv->root->nr_nodes, inv->nodes);				/* I4 */
}

static inline void check_tree_exact(struct radix_tree_root *root)
{
	struct invariants inv = { .root = root, .exact = true };

	inv_tree(&inv);
}

/* The same where shared use may have left empty nodes and upper tags. */
static inline void check_tree(struct radix_tree_root *root)
{
	struct invariants inv = { .root = root };

	inv_tree(&inv);
}

/* ---- leaves: I7, I8, I9, I11, I12, I15 ---------------------------------------- */

/* The entry that covers a page, by a walk of our own. */
static inline void *inv_find(struct radix_tree_root *root, dax_pgoff_t pgoff,
			     const struct radix_tree_node **ret_node,
			     unsigned int *ret_offset)
{
	const struct radix_tree_node *node = rnode_node(root->rnode);

	if (pgoff > radix_tree_maxindex(root))
		return NULL;
	while (node) {
		unsigned int offset =
			(pgoff >> node->shift) & (RADIX_TREE_MAP_SIZE - 1);
		void *entry = node->slots[offset];

		if (!radix_tree_is_internal_node(entry)) {
			*ret_node = node;
			*ret_offset = offset;
			return entry;
		}
		node = entry_to_node(entry);
	}
	return NULL;
}

static inline void inv_private_copy(struct invariants *inv,
				    const struct dax_vma *vma, uint64_t leaf)
{
	inv->cow_pages++;
	CHECK(!vma_is_shared(vma));					/* I15 */
	CHECK(!(leaf & LEAF_HUGE));
	CHECK(leaf >> DAX_PAGE_SHIFT & DAX_PFN_HOST);
}

/* Page @pgoff as a load finds it in frame @pfn, against pread. */
static inline void inv_page_bytes(struct dax_mapping *mapping,
				  dax_pgoff_t pgoff, dax_pfn_t pfn)
{
	dax_loff_t pos = (dax_loff_t)(pgoff << DAX_PAGE_SHIFT);
	dax_loff_t left = i_size_read(mapping) - pos;
	size_t n = left < DAX_PAGE_SIZE ? (size_t)left : DAX_PAGE_SIZE;
	char page[DAX_PAGE_SIZE];

	EQ(mapping_pread(mapping, page, n, pos), n);
	CHECK(!memcmp(page, pfn_to_kaddr(pfn), n));			/* I12 */
}

/* Every page of a leaf that lies in the mapping and in the file. */
static inline void inv_leaf_bytes(struct dax_mapping *mapping,
				  const struct dax_vma *vma, dax_pgoff_t pgoff,
				  uint64_t leaf)
{
	dax_pgoff_t nr = leaf & LEAF_HUGE ? DAX_PMD_NR_PAGES : 1;
	dax_pfn_t pfn = leaf >> DAX_PAGE_SHIFT;
	/* Real mappings have many, from the beginning: some pages of each. */
	dax_pgoff_t step = vma->real && pfn == DAX_HUGE_ZERO_PFN ? 61 : 1;

	for (dax_pgoff_t i = 0; i < nr; i += step)
		if (vma_covers(vma, pgoff + i) &&
		    pgoff + i < mapping_max_pgoff(mapping))
			inv_page_bytes(mapping, pgoff + i, pfn + i);
}

/* A leaf that shows the file: what its entry must be. */
static inline void inv_file_leaf(struct invariants *inv,
				 const struct dax_vma *vma, dax_pgoff_t pgoff,
				 uint64_t leaf)
{
	bool written = leaf & (LEAF_WRITE | LEAF_DIRTY), huge = leaf & LEAF_HUGE;
	dax_pfn_t pfn = leaf >> DAX_PAGE_SHIFT;
	const struct radix_tree_node *node = NULL;
	unsigned int offset = 0;
	void *entry = inv_find(inv->root, pgoff, &node, &offset);

	CHECK(entry);
	if (!entry)
		return;
	CHECK(vma_is_shared(vma) || !written);
	CHECK(!written || vma->real ||
	      !inv_synced(inv, pgoff, huge ? DAX_PMD_ORDER : 0));	/* I9 */
	if (pfn == DAX_ZERO_PFN || pfn == DAX_HUGE_ZERO_PFN) {
		CHECK(radix_tree_exceptional_entry(entry) &&
		      dax_is_zero_entry(entry));			/* I7 */
		EQ(huge, pfn == DAX_HUGE_ZERO_PFN);
		/* Leaves of real mappings are split first: there may be no memory
		 * to split the entry. */
		if (huge || !vma->real)
			EQ(node->shift, huge ? DAX_PMD_ORDER : 0);
		CHECK(!written);
		return;
	}
	if (pfn & DAX_PFN_HOST) {
		CHECK(!radix_tree_exceptional_entry(entry));
		CHECK(!written && !huge);
		return;
	}
	CHECK(radix_tree_exceptional_entry(entry) && dax_is_data_entry(entry));
	CHECK(!huge || node->shift == DAX_PMD_ORDER);
	EQ(pfn, dax_radix_pfn(entry) +
	   (huge ? 0 : pgoff & ((UINT64_C(1) << node->shift) - 1)));
	CHECK(!written || vma->real ||
	      inv_tag(node, DAX_PAGECACHE_TAG_DIRTY, offset) ||
	      inv_tag(node, DAX_PAGECACHE_TAG_AHEAD, offset));		/* I8 */
}

static inline void inv_leaf(struct invariants *inv, struct dax_vma *vma,
			    dax_pgoff_t pgoff)
{
	uint64_t leaf = vma_soft_leaf(vma, pgoff);

	if (!leaf)
		return;
	CHECK(leaf & LEAF_PRESENT);
	CHECK(!(leaf & LEAF_TABLE));
	CHECK(!(leaf & LEAF_WRITE) || vma->flags & DAX_VM_WRITE);
	CHECK(pgoff < mapping_max_pgoff(inv->mapping));			/* I11 */
	if (leaf & LEAF_ANON)
		inv_private_copy(inv, vma, leaf);
	else
		inv_file_leaf(inv, vma, pgoff, leaf);
	if (inv->bytes && !(leaf & LEAF_ANON))
		inv_leaf_bytes(inv->mapping, vma, pgoff, leaf);
}

/* First page of the next 2 MiB of address space. */
static inline dax_pgoff_t inv_next_pmd(const struct dax_vma *vma,
				       dax_pgoff_t pgoff)
{
	uint64_t page = (vma->vm_start >> DAX_PAGE_SHIFT) + (pgoff - vma->vm_pgoff);

	return pgoff + DAX_PMD_NR_PAGES - page % DAX_PMD_NR_PAGES;
}

static inline void inv_vma(struct invariants *inv, struct dax_vma *vma)
{
	uint64_t nr = vma->nr_pages < INVARIANTS_MAX_PAGES ? vma->nr_pages
							   : INVARIANTS_MAX_PAGES;

	inv->cut |= nr < vma->nr_pages;
	for (dax_pgoff_t p = vma->vm_pgoff; p < vma->vm_pgoff + nr;) {
		enum vma_pmd_state state = vma->vm_ops->pmd_state(vma, p);

		if (state != VMA_PMD_NONE)
			inv_leaf(inv, vma, p);
		p = state == VMA_PMD_TABLE ? p + 1 : inv_next_pmd(vma, p);
	}
}

static inline void inv_vmas(struct invariants *inv)
{
	struct dax_vma *vma = inv->mapping->i_mmap;

	for (; vma; vma = vma->i_mmap_next)
		inv_vma(inv, vma);
}

/* ---- addresses: R1, R2, R3 --------------------------------------------------------- */

/* Words of the page map, of 2 MiB of addresses. */
struct inv_page_map {
	int fd;
	uintptr_t start;	/* 0: none yet */
	uint64_t words[DAX_PMD_NR_PAGES];
};

enum { INV_PROTECTED = 57, INV_SWAPPED = 62, INV_THERE = 63 };

static inline uint64_t inv_page_word(struct inv_page_map *map, const char *page)
{
	uintptr_t start = (uintptr_t)page & ~(uintptr_t)(DAX_PMD_SIZE - 1);

	if (map->start != start)
		EQ(pread(map->fd, map->words, sizeof(map->words),
			 (off_t)(start / DAX_PAGE_SIZE * sizeof(map->words[0]))),
		   sizeof(map->words));
	map->start = start;
	return map->words[((uintptr_t)page - start) / DAX_PAGE_SIZE];
}

static inline void inv_address_bytes(struct dax_mapping *mapping, dax_pgoff_t pgoff,
				     const char *addr)
{
	dax_loff_t pos = (dax_loff_t)(pgoff << DAX_PAGE_SHIFT);
	dax_loff_t left = i_size_read(mapping) - pos;
	size_t n = left < DAX_PAGE_SIZE ? (size_t)left : DAX_PAGE_SIZE;
	char page[DAX_PAGE_SIZE];

	EQ(mapping_pread(mapping, page, n, pos), n);
	CHECK(!memcmp(page, addr, n));					/* R3 */
}

static inline void inv_address(struct dax_mapping *mapping, struct dax_vma *vma,
			       struct inv_page_map *map, dax_pgoff_t pgoff)
{
	char *addr = (char *)vma_real_address(vma) +
		     ((pgoff - vma->vm_pgoff) << DAX_PAGE_SHIFT);
	uint64_t leaf = vma_soft_leaf(vma, pgoff), word = inv_page_word(map, addr);
	dax_pfn_t pfn = leaf >> DAX_PAGE_SHIFT;
	bool there = word >> INV_THERE & 1;

	if (!leaf) {
		CHECK(!there && !(word >> INV_SWAPPED & 1));		/* R2 */
		return;
	}
	if (pfn == DAX_ZERO_PFN || pfn == DAX_HUGE_ZERO_PFN)
		CHECK(there && (word >> INV_PROTECTED & 1 ||
				!(vma->flags & DAX_VM_WRITE)));		/* R1 */
	if (vma_is_shared(vma))
		inv_address_bytes(mapping, pgoff, addr);
}

static inline void inv_addresses(struct dax_mapping *mapping, struct dax_vma *vma,
				 struct inv_page_map *map)
{
	uint64_t nr = vma->nr_pages < INVARIANTS_MAX_PAGES ? vma->nr_pages
							   : INVARIANTS_MAX_PAGES;

	map->start = 0;
	for (dax_pgoff_t p = vma->vm_pgoff; p < vma->vm_pgoff + nr;) {
		enum vma_pmd_state state = vma->vm_ops->pmd_state(vma, p);

		inv_address(mapping, vma, map, p);
		p = state == VMA_PMD_TABLE ? p + 1 : inv_next_pmd(vma, p);
	}
}

/* Of 2 MiB with one leaf or none the first page. */
static inline void check_addresses(struct dax_mapping *mapping)
{
	struct inv_page_map map = { .fd = open("/proc/self/pagemap", O_RDONLY) };
	struct dax_vma *vma = mapping->i_mmap;

	MUST(map.fd >= 0);
	for (; vma; vma = vma->i_mmap_next)
		if (vma->real)
			inv_addresses(mapping, vma, &map);
	close(map.fd);
}

/* ---- the block map: I10 ----------------------------------------------------------- */

/* Page of the block map's answer, or UINT64_MAX for a hole. */
static inline dax_pfn_t inv_mapped_pfn(struct dax_mapping *mapping,
				       dax_pgoff_t pgoff)
{
	dax_loff_t pos = (dax_loff_t)(pgoff << DAX_PAGE_SHIFT);
	dax_pfn_t pfn = UINT64_MAX;
	struct dax_iomap iomap;
	int ret = iomap_begin(mapping, pos, DAX_PAGE_SIZE, DAX_IOMAP_REPORT,
			      &iomap);

	EQ(ret, 0);
	if (ret)
		return UINT64_MAX;
	if (iomap.type == DAX_IOMAP_MAPPED)
		pfn = iomap.dax_dev->pfn_base +
		      ((iomap.addr + (uint64_t)(pos - iomap.offset)) >>
		       DAX_PAGE_SHIFT);
	iomap_end(mapping, pos, DAX_PAGE_SIZE, 0, DAX_IOMAP_REPORT, &iomap);
	return pfn;
}

/* A file system calls a page data that was set aside and is cached since, though
 * nothing was stored in it: of a sparse file it must be zeroes. */
static inline void inv_shows_hole(struct dax_mapping *mapping, dax_pfn_t pfn)
{
	struct dax_device *dev = mapping->dax_dev;
	char zeroes[DAX_PAGE_SIZE] = { 0 };

	if (pfn != UINT64_MAX && mapping->ops == &sparse_file_ops)
		CHECK(!memcmp(dev->window + ((pfn - dev->pfn_base) << DAX_PAGE_SHIFT),
			      zeroes, sizeof(zeroes)));
	else
		EQ(pfn, UINT64_MAX);
}

static inline void inv_entry_blocks(struct dax_mapping *mapping,
				    const struct radix_tree_iter *iter)
{
	bool page = !radix_tree_exceptional_entry(iter->entry);

	if (!page && dax_is_empty_entry(iter->entry))
		return;
	if (radix_tree_tag_get(iter, DAX_PAGECACHE_TAG_DIRTY))
		for (dax_pgoff_t i = 0; i < (dax_pgoff_t)1 << iter->order; i++)
			CHECK(!pfn_is_shared(dax_radix_pfn(iter->entry) + i)); /* S1 */
	for (dax_pgoff_t i = 0; i < (dax_pgoff_t)1 << iter->order; i++) {
		dax_pfn_t pfn = inv_mapped_pfn(mapping, iter->index + i);

		if (page || dax_is_zero_entry(iter->entry))
			inv_shows_hole(mapping, pfn);
		else
			EQ(pfn, dax_radix_pfn(iter->entry) + i);
	}
}

/* Entries show the blocks the block map says, and no others. */
static inline void check_block_map(struct dax_mapping *mapping)
{
	struct radix_tree_iter iter;
	dax_pgoff_t index = 0;

	while (radix_tree_next(&mapping->i_pages, index, UINT64_MAX, &iter)) {
		inv_entry_blocks(mapping, &iter);
		index = iter.index + ((dax_pgoff_t)1 << iter.order);
	}
}

/* ---- who waits: I18 ---------------------------------------------------------- */

/* Whole table, all files of the process. */
static inline void check_wait_table(void)
{
	EQ(wait_count_owner(NULL), 0);
}

/* ---- blocks of a device: S2 -------------------------------------------------------- */

static inline void inv_count_owners(struct dax_mapping *mapping, unsigned int *owners)
{
	struct dax_extent row[64];
	dax_loff_t pos = 0;
	int64_t nr;

	while ((nr = dax_mapping_extents(mapping, &pos, row, 64)) > 0)
		for (int64_t i = 0; i < nr; i++)
			for (uint64_t at = 0; row[i].type != DAX_IOMAP_HOLE &&
			     at < row[i].length; at += DAX_PAGE_SIZE)
				owners[(row[i].device_offset + at) >> DAX_PAGE_SHIFT]++;
	EQ(nr, 0);
}

/* @files: all files of the device, over the built-in block map. */
static inline void check_owners(struct dax_device *dev,
				struct dax_mapping *const *files, unsigned int n)
{
	struct block_allocator *blocks = &dev->blocks;
	unsigned int *owners = calloc(blocks->nr, sizeof(*owners)), bad = 0;
	uint64_t nr_free = 0;

	MUST(owners);
	for (unsigned int i = 0; i < n; i++)
		inv_count_owners(files[i], owners);
	for (uint64_t i = 0; i < blocks->nr; i++) {
		bool used = blocks->used[i / 64] >> (i % 64) & 1;
		uint64_t word = frame_word(&blocks->frames, i);

		nr_free += !used;
		if (used == !owners[i] || word != (owners[i] ? owners[i] - 1 : 0)) {
			TAP_PRINTF("# block %" PRIu64 ": %u owners, word %#" PRIx64 ", used %d\n",
			       i, owners[i], word, used);
			bad++;
		}
	}
	EQ(bad, 0);							/* S2 */
	EQ(blocks->nr_free, nr_free);
	free(owners);
}

/* ---- all together -------------------------------------------------------------------- */

/* All but the block map, for files whose block map is not to be asked. */
static inline void check_tree_and_leaves(struct dax_mapping *mapping)
{
	struct invariants inv = { .mapping = mapping, .root = &mapping->i_pages };
	uint64_t bytes = mapping->policy->bytes ? mapping->policy->bytes(mapping) : 0;

	inv_tree(&inv);
	EQ(mapping_nrexceptional(mapping), inv.entries);		/* I3 */
	EQ(bytes, inv.pages << DAX_PAGE_SHIFT);
	EQ(mapping->nr_waiters, 0);					/* I6 */
	EQ(wait_count_owner(mapping), 0);				/* I18 */
	inv_vmas(&inv);
	if (!inv.cut)
		EQ(mapping->cow_bytes,					/* I15 */
		   inv.cow_pages << DAX_PAGE_SHIFT);
}

/* What loads find, leaf by leaf; a page without a leaf is faulted in from the
 * block map that pread asks. */
static inline void check_leaf_bytes(struct dax_mapping *mapping)
{
	struct invariants inv = { .mapping = mapping, .root = &mapping->i_pages,
				  .bytes = true };

	inv_vmas(&inv);
}

/* Pages [first, last] are clean, and no store can change that unseen; that they
 * hold the right bytes is check_leaf_bytes() and check_block_map(). */
static inline void check_after_fsync(struct dax_mapping *mapping,
				     dax_pgoff_t first, dax_pgoff_t last)
{
	struct invariants inv = { .mapping = mapping, .root = &mapping->i_pages,
				  .synced = true, .first = first, .last = last };

	inv_tree(&inv);
	inv_vmas(&inv);
}

static inline void check_invariants(struct dax_mapping *mapping)
{
	int bad = tap_bad;

	check_tree_and_leaves(mapping);
	check_block_map(mapping);
	if (tap_bad != bad)
		TAP_PRINTF("# an invariant of the file does not hold\n");
}

#endif

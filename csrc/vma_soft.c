/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vma_soft.c -- a software page table: loads and stores are calls
 *
 * Owns: the page tables and the private copies in them.
 * Locks: a 4 KiB leaf changes under the entry lock of its page or under
 *        invalidate_lock exclusive; pmd slots (tables, huge leaves) change by
 *        compare-and-swap; tables are freed with the vma.  A load or store
 *        holds invalidate_lock shared throughout, and is "inside the frame"
 *        (percpu.h) from its last look at the leaf to the last byte.
 * Kernel: mm/memory.c: insert_pfn(), zap_pte_range(), do_anonymous_page()
 *         (v4.14); the same-PFN check of insert_pfn() as merged there.
 */
#include "vma_soft.h"

#include <errno.h>
#include <inttypes.h>

#include "ahead.h"
#include "collect.h"
#include "copy_mc.h"
#include "errormsg.h"
#include "fault.h"
#include "fault_around.h"
#include "fault_outside.h"
#include "frames.h"
#include "move.h"

enum {
	PTRS_PER_TABLE = 512,
	PUD_PAGES_SHIFT = 18,
	/* Accesses that fault this often without getting their leaf report it
	 * rather than spin: an embedder's block map contradicts itself. */
	MAX_FAULTS_PER_ACCESS = 1000,
	PREFETCH_DISTANCE = 12	/* pages: some 300 ns of work */
};

#define NO_PAGE	UINT64_MAX

typedef _Atomic uint64_t leaf_t;

struct pmd_table {
	leaf_t slot[PTRS_PER_TABLE];
};

struct pte_table {
	leaf_t slot[PTRS_PER_TABLE];
};

struct vma_soft {
	struct dax_vma vma;
	uint64_t first_pud;	/* GiB number of pud[0] */
	uint64_t nr_puds;
	_Atomic(struct pmd_table *) pud[];
};

static const uint64_t max_length = UINT64_C(1) << 47;

static struct vma_soft *to_soft(struct dax_vma *vma)
{
	return container_of(vma, struct vma_soft, vma);
}

static uint64_t address_page(const struct dax_vma *vma, dax_pgoff_t pgoff)
{
	return (vma->vm_start >> DAX_PAGE_SHIFT) + (pgoff - vma->vm_pgoff);
}

/* ---- tables ---------------------------------------------------------------- */

static void account_table(struct dax_vma *vma, int64_t bytes)
{
	atomic_fetch_add_explicit(&vma->mapping->page_table_bytes,
				  (uint64_t)bytes, memory_order_relaxed);
}

static struct pmd_table *pmd_table(struct vma_soft *soft, uint64_t page)
{
	return smp_load_acquire(&soft->pud[(page >> PUD_PAGES_SHIFT) - soft->first_pud]);
}

/* Slot of the 2 MiB around a page; NULL if its table is not there. */
static leaf_t *pmd_slot(struct vma_soft *soft, dax_pgoff_t pgoff)
{
	uint64_t page = address_page(&soft->vma, pgoff);
	struct pmd_table *table = pmd_table(soft, page);

	if (unlikely(!table))
		return NULL;
	return &table->slot[(page >> DAX_PMD_ORDER) % PTRS_PER_TABLE];
}

static struct pte_table *slot_table(uint64_t word)
{
	return (struct pte_table *)(uintptr_t)(word & ~(uint64_t)LEAF_TABLE);
}

/* 4 KiB leaf of a page inside the table behind @pmd; NULL: not a table. */
static leaf_t *pte_of(struct vma_soft *soft, uint64_t pmd, dax_pgoff_t pgoff)
{
	if (unlikely(!(pmd & LEAF_TABLE)))
		return NULL;
	return &slot_table(pmd)->slot[address_page(&soft->vma, pgoff) % PTRS_PER_TABLE];
}

static leaf_t *pte_slot(struct vma_soft *soft, dax_pgoff_t pgoff)
{
	leaf_t *pmd = pmd_slot(soft, pgoff);

	return likely(pmd) ? pte_of(soft, smp_load_acquire(pmd), pgoff) : NULL;
}

static int soft_pmd_alloc(struct dax_vm_fault *vmf)
{
	struct dax_vma *vma = vmf->vma;
	struct vma_soft *soft = to_soft(vma);
	uint64_t page = address_page(vma, vmf->pgoff);
	_Atomic(struct pmd_table *) *pud =
		&soft->pud[(page >> PUD_PAGES_SHIFT) - soft->first_pud];
	struct pmd_table *none = NULL;
	struct pmd_table *table;

	if (likely(smp_load_acquire(pud)))
		return 0;
	table = dax_zalloc(sizeof(*table));
	if (!table)
		return dax_error(-ENOMEM, "no memory for a page table");
	if (atomic_compare_exchange_strong(pud, &none, table))
		account_table(vma, sizeof(*table));
	else
		dax_free(table);
	return 0;
}

static __cold int pte_table_alloc(struct dax_vma *vma, leaf_t *pmd)
{
	struct pte_table *table = dax_zalloc(sizeof(*table));
	uint64_t none = 0;

	if (!table)
		return dax_error(-ENOMEM, "no memory for a page table");
	if (atomic_compare_exchange_strong(pmd, &none,
					   (uint64_t)(uintptr_t)table | LEAF_TABLE))
		account_table(vma, sizeof(*table));
	else
		dax_free(table);
	return 0;
}

/* A huge leaf in the way is left: the fault finds it and is repeated. */
static int soft_pte_alloc(struct dax_vm_fault *vmf)
{
	struct vma_soft *soft = to_soft(vmf->vma);
	int ret = soft_pmd_alloc(vmf);
	leaf_t *pmd;

	if (ret)
		return ret;
	pmd = pmd_slot(soft, vmf->pgoff);
	if (!smp_load_acquire(pmd)) {
		ret = pte_table_alloc(vmf->vma, pmd);
		if (ret)
			return ret;
	}
	vmf->pte = pte_of(soft, smp_load_acquire(pmd), vmf->pgoff);
	return 0;
}

static enum vma_pmd_state soft_pmd_state(struct dax_vma *vma, dax_pgoff_t pgoff)
{
	leaf_t *pmd = pmd_slot(to_soft(vma), pgoff);
	uint64_t word = pmd ? smp_load_acquire(pmd) : 0;

	if (!word)
		return VMA_PMD_NONE;
	return word & LEAF_TABLE ? VMA_PMD_TABLE : VMA_PMD_HUGE;
}

/* ---- leaves ------------------------------------------------------------------ */

static uint64_t leaf_word(dax_pfn_t pfn, unsigned int flags)
{
	return pfn << DAX_PAGE_SHIFT | flags | LEAF_PRESENT;
}

static dax_pfn_t leaf_pfn(uint64_t leaf)
{
	return leaf >> DAX_PAGE_SHIFT;
}

/* Flags of a leaf that a store has asked for; kernel: maybe_mkwrite(). */
static unsigned int mkwrite_flags(const struct dax_vma *vma)
{
	unsigned int flags = LEAF_YOUNG | LEAF_DIRTY;

	return vma->flags & DAX_VM_WRITE ? flags | LEAF_WRITE : flags;
}

/* The table of insert_pfn(): what happens to a leaf that is there. */
static int upgrade_leaf(const struct dax_vma *vma, leaf_t *leaf, uint64_t old,
			dax_pfn_t pfn, bool mkwrite)
{
	if (!mkwrite || leaf_pfn(old) != pfn)
		return -EBUSY;
	smp_store_release(leaf, old | mkwrite_flags(vma));
	return 0;
}

/* No table was there when the fault began. */
static __cold int find_pte(struct dax_vm_fault *vmf)
{
	if (!vma_covers(vmf->vma, vmf->pgoff))
		return dax_error(-EFAULT, "page %" PRIu64 " is outside the mapping",
				 vmf->pgoff);
	if (soft_pte_alloc(vmf))
		return -ENOMEM;
	return vmf->pte ? 0 : -EBUSY;	/* a huge leaf */
}

static int soft_insert_mixed(struct dax_vm_fault *vmf, dax_pfn_t pfn,
			     bool mkwrite)
{
	uint64_t old;

	if (unlikely(!vmf->pte)) {
		int ret = find_pte(vmf);

		if (ret)
			return ret;
	}
	old = READ_ONCE(*vmf->pte);
	if (unlikely(old))
		return upgrade_leaf(vmf->vma, vmf->pte, old, pfn, mkwrite);
	smp_store_release(vmf->pte,
			  leaf_word(pfn, mkwrite ? mkwrite_flags(vmf->vma) : 0));
	return 0;
}

static int soft_insert_run(struct dax_vm_fault *vmf, dax_pgoff_t pgoff,
			   unsigned int nr, dax_pfn_t pfn, bool mkwrite)
{
	struct dax_vm_fault one = *vmf;
	int ret = 0;

	for (unsigned int i = 0; i < nr && (!ret || ret == -EBUSY); i++) {
		one.pgoff = pgoff + i;
		one.pte = pte_slot(to_soft(vmf->vma), one.pgoff);
		ret = soft_insert_mixed(&one, pfn == DAX_ZERO_PFN ? pfn : pfn + i,
					mkwrite);
	}
	return ret == -EBUSY ? 0 : ret;
}

static int soft_insert_pfn_pmd(struct dax_vm_fault *vmf, dax_pfn_t pfn,
			       bool write)
{
	unsigned int flags = LEAF_HUGE | (write ? mkwrite_flags(vmf->vma) : 0);
	uint64_t old = 0;
	leaf_t *pmd;

	if (soft_pmd_alloc(vmf))
		return -ENOMEM;
	pmd = pmd_slot(to_soft(vmf->vma), vmf->pgoff);
	if (atomic_compare_exchange_strong(pmd, &old, leaf_word(pfn, flags)))
		return 0;
	if (old & LEAF_TABLE || !write || leaf_pfn(old) != pfn)
		return -EBUSY;
	return atomic_compare_exchange_strong(pmd, &old, old | flags) ? 0 : -EBUSY;
}

static void account_cow(struct dax_vma *vma, int64_t bytes)
{
	atomic_fetch_add_explicit(&vma->mapping->cow_bytes, (uint64_t)bytes,
				  memory_order_relaxed);
}

static int soft_finish_cow(struct dax_vm_fault *vmf, void *page)
{
	if (!vmf->pte) {
		int ret = find_pte(vmf);

		if (ret)
			return ret;
	}
	if (READ_ONCE(*vmf->pte) & LEAF_ANON)
		return -EBUSY;
	account_cow(vmf->vma, DAX_PAGE_SIZE);
	smp_store_release(vmf->pte, leaf_word(host_pfn(page),
					      mkwrite_flags(vmf->vma) | LEAF_ANON));
	return 0;
}

/* Leaf word that answers for a page, a huge one included; 0: none. */
static uint64_t find_leaf(struct vma_soft *soft, dax_pgoff_t pgoff)
{
	leaf_t *pmd = pmd_slot(soft, pgoff);
	uint64_t word = likely(pmd) ? smp_load_acquire(pmd) : 0;

	if (likely(word & LEAF_TABLE))
		return smp_load_acquire(pte_of(soft, word, pgoff));
	return word;
}

static bool leaf_allows(uint64_t leaf, bool write)
{
	return leaf & (write ? LEAF_WRITE : LEAF_PRESENT);
}

uint64_t vma_soft_leaf(struct dax_vma *vma, dax_pgoff_t pgoff)
{
	return find_leaf(to_soft(vma), pgoff);
}

/* Frame of a page behind its leaf. */
static dax_pfn_t leaf_page_pfn(const struct vma_soft *soft, uint64_t leaf,
			       dax_pgoff_t pgoff)
{
	if (likely(!(leaf & LEAF_HUGE)))
		return leaf_pfn(leaf);
	return leaf_pfn(leaf) + address_page(&soft->vma, pgoff) % PTRS_PER_TABLE;
}

/* ---- zap ------------------------------------------------------------------------ */

/* Only under invalidate_lock exclusive: no access is inside. */
static __cold void free_private_copy(struct dax_vma *vma, uint64_t leaf)
{
	if (!vma->real)
		dax_free(pfn_to_kaddr(leaf_pfn(leaf)));
	account_cow(vma, -(int64_t)DAX_PAGE_SIZE);
}

static __always_inline_fn void zap_leaf(struct dax_vma *vma, leaf_t *leaf,
					bool even_cows)
{
	uint64_t old = READ_ONCE(*leaf);

	if (!old || (old & LEAF_ANON && !even_cows))
		return;
	smp_store_release(leaf, 0);
	if (unlikely(old & LEAF_ANON))
		free_private_copy(vma, old);
}

/* Pages [first, last] lie in one 2 MiB of address space. */
static void zap_pmd(struct vma_soft *soft, leaf_t *pmd, dax_pgoff_t first,
		    dax_pgoff_t last, bool even_cows)
{
	uint64_t word = smp_load_acquire(pmd);

	if (word & LEAF_TABLE) {
		leaf_t *leaf = pte_of(soft, word, first);

		for (leaf_t *end = leaf + (last - first); leaf <= end; leaf++)
			zap_leaf(&soft->vma, leaf, even_cows);
		return;
	}
	while (word && !(word & LEAF_TABLE) &&
	       !atomic_compare_exchange_weak(pmd, &word, 0))
		;
}

/* Last page of the aligned 2^order pages of address space around @pgoff. */
static dax_pgoff_t range_end(const struct dax_vma *vma, dax_pgoff_t pgoff,
			     unsigned int order, dax_pgoff_t last)
{
	uint64_t left = (UINT64_C(1) << order) -
			(address_page(vma, pgoff) & ((UINT64_C(1) << order) - 1));

	return last - pgoff < left ? last : pgoff + left - 1;
}

static void soft_zap(struct dax_vma *vma, dax_pgoff_t first, dax_pgoff_t last,
		     bool even_cows)
{
	struct vma_soft *soft = to_soft(vma);

	for (dax_pgoff_t pgoff = first;;) {
		leaf_t *pmd = pmd_slot(soft, pgoff);
		dax_pgoff_t end = range_end(vma, pgoff,
					    pmd ? DAX_PMD_ORDER : PUD_PAGES_SHIFT,
					    last);

		if (pmd)
			zap_pmd(soft, pmd, pgoff, end, even_cows);
		if (end == last)
			return;
		pgoff = end + 1;
	}
}

/* ---- mkclean ---------------------------------------------------------------------- */

static uint64_t cleaned(uint64_t leaf)
{
	return leaf & ~(uint64_t)(LEAF_WRITE | LEAF_DIRTY);
}

static bool mkclean_leaf(leaf_t *leaf)
{
	uint64_t old = READ_ONCE(*leaf);

	if (old & LEAF_ANON || cleaned(old) == old)
		return false;
	smp_store_release(leaf, cleaned(old));
	return true;
}

/* Pages [first, last] lie in one 2 MiB of address space. */
static bool mkclean_pmd(struct vma_soft *soft, leaf_t *pmd, dax_pgoff_t first,
			dax_pgoff_t last)
{
	uint64_t word = smp_load_acquire(pmd);
	bool changed = false;

	if (word & LEAF_TABLE) {
		leaf_t *leaf = pte_of(soft, word, first);

		for (leaf_t *end = leaf + (last - first); leaf <= end; leaf++)
			changed |= mkclean_leaf(leaf);
		return changed;
	}
	while (cleaned(word) != word)
		if (atomic_compare_exchange_weak(pmd, &word, cleaned(word)))
			return true;
	return false;
}

static bool mkclean_range(struct dax_vma *vma, dax_pgoff_t first, dax_pgoff_t last)
{
	struct vma_soft *soft = to_soft(vma);
	bool changed = false;

	if (!clip_to_vma(vma, &first, &last))
		return false;
	for (dax_pgoff_t pgoff = first;;) {
		leaf_t *pmd = pmd_slot(soft, pgoff);
		dax_pgoff_t end = range_end(vma, pgoff, DAX_PMD_ORDER, last);

		if (pmd)
			changed |= mkclean_pmd(soft, pmd, pgoff, end);
		if (end == last)
			return changed;
		pgoff = end + 1;
	}
}

/* Where the last page that was looked for has its leaf. */
struct table_cursor {
	uint64_t table_nr;	/* which 2 MiB of address space */
	struct pte_table *table;
};

/* Leaf of the page of a 4 KiB entry; NULL: not in the vma, no table, larger. */
static __always_inline_fn leaf_t *entry_pte(struct vma_soft *soft,
					    struct table_cursor *cursor,
					    const struct radix_tree_iter *iter)
{
	uint64_t page = address_page(&soft->vma, iter->index);

	if (unlikely(iter->order || !vma_covers(&soft->vma, iter->index)))
		return NULL;
	if (unlikely(page / PTRS_PER_TABLE != cursor->table_nr)) {
		leaf_t *pmd = pmd_slot(soft, iter->index);
		uint64_t word = pmd ? smp_load_acquire(pmd) : 0;

		cursor->table_nr = page / PTRS_PER_TABLE;
		cursor->table = word & LEAF_TABLE ? slot_table(word) : NULL;
	}
	return likely(cursor->table) ? &cursor->table->slot[page % PTRS_PER_TABLE]
				     : NULL;
}

static bool soft_mkclean(struct dax_vma *vma, const struct radix_tree_iter *iter,
			 unsigned int nr)
{
	struct table_cursor cursor = { .table_nr = UINT64_MAX };
	bool changed = false;

	for (unsigned int i = 0; i < nr; i++) {
		leaf_t *pte = entry_pte(to_soft(vma), &cursor, &iter[i]);

		if (likely(pte))
			changed |= mkclean_leaf(pte);
		else
			changed |= mkclean_range(vma, iter[i].index,
						 radix_tree_iter_last(&iter[i]));
	}
	return changed;
}

static void soft_prefetch(struct dax_vma *vma, const struct radix_tree_iter *iter,
			  unsigned int nr)
{
	struct table_cursor cursor = { .table_nr = UINT64_MAX };

	for (unsigned int i = 0; i < nr; i++) {
		leaf_t *pte = entry_pte(to_soft(vma), &cursor, &iter[i]);

		if (pte)
			prefetch_later(pte);
	}
}

static void soft_split_huge_pmd(struct dax_vma *vma, dax_pgoff_t pgoff)
{
	leaf_t *pmd = pmd_slot(to_soft(vma), pgoff);
	uint64_t word = pmd ? smp_load_acquire(pmd) : 0;

	while (word && !(word & (LEAF_TABLE | LEAF_WRITE)) &&
	       !atomic_compare_exchange_weak(pmd, &word, 0))
		;
}

/* ---- for what stands behind the table ---------------------------------------------- */

bool vma_soft_next_leaf(struct dax_vma *vma, dax_pgoff_t *pgoff, dax_pgoff_t last,
			uint64_t *ret_leaf, dax_pgoff_t *ret_nr)
{
	struct vma_soft *soft = to_soft(vma);

	while (*pgoff <= last) {
		leaf_t *pmd = pmd_slot(soft, *pgoff);
		uint64_t word = pmd ? smp_load_acquire(pmd) : 0;
		dax_pgoff_t end = range_end(vma, *pgoff,
					    pmd ? DAX_PMD_ORDER : PUD_PAGES_SHIFT, last);

		*ret_nr = end - *pgoff + 1;
		if (word & LEAF_TABLE) {
			word = smp_load_acquire(pte_of(soft, word, *pgoff));
			*ret_nr = 1;
		}
		*ret_leaf = word;
		if (word)
			return true;
		*pgoff += *ret_nr;
	}
	return false;
}

/* No memory for the table: the leaf goes, and what stands behind it may stay
 * until the pages' own leaves go. */
bool vma_soft_split_zero(struct dax_vma *vma, dax_pgoff_t pgoff)
{
	leaf_t *pmd = pmd_slot(to_soft(vma), pgoff);
	uint64_t huge = pmd ? smp_load_acquire(pmd) : 0;
	struct pte_table *table;

	if (!(huge & LEAF_HUGE) || leaf_pfn(huge) != DAX_HUGE_ZERO_PFN)
		return true;
	table = dax_zalloc(sizeof(*table));
	if (!table)
		return false;
	for (unsigned int i = 0; i < PTRS_PER_TABLE; i++)
		atomic_init(&table->slot[i], leaf_word(DAX_ZERO_PFN, 0));
	if (atomic_compare_exchange_strong(pmd, &huge,
					   (uint64_t)(uintptr_t)table | LEAF_TABLE))
		account_table(vma, sizeof(*table));
	else
		dax_free(table);
	return true;
}

/* ---- life ------------------------------------------------------------------------ */

static void free_tables(struct vma_soft *soft, struct pmd_table *pmd)
{
	for (unsigned int i = 0; i < PTRS_PER_TABLE; i++) {
		uint64_t word = READ_ONCE(pmd->slot[i]);

		if (word & LEAF_TABLE) {
			dax_free(slot_table(word));
			account_table(&soft->vma, -(int64_t)sizeof(struct pte_table));
		}
	}
	dax_free(pmd);
	account_table(&soft->vma, -(int64_t)sizeof(*pmd));
}

static size_t soft_bytes(const struct vma_soft *soft)
{
	return sizeof(*soft) + soft->nr_puds * sizeof(soft->pud[0]);
}

static void soft_free(struct dax_vma *vma)
{
	struct vma_soft *soft = to_soft(vma);

	for (uint64_t i = 0; i < soft->nr_puds; i++)
		if (READ_ONCE(soft->pud[i]))
			free_tables(soft, READ_ONCE(soft->pud[i]));
	account_table(vma, -(int64_t)soft_bytes(soft));
	dax_free(soft);
}

const struct dax_vm_ops vma_soft_ops = {
	.insert_mixed = soft_insert_mixed,
	.insert_run = soft_insert_run,
	.insert_pfn_pmd = soft_insert_pfn_pmd,
	.finish_cow = soft_finish_cow,
	.pte_alloc = soft_pte_alloc,
	.pmd_alloc = soft_pmd_alloc,
	.pmd_state = soft_pmd_state,
	.zap = soft_zap,
	.split_huge_pmd = soft_split_huge_pmd,
	.mkclean = soft_mkclean,
	.prefetch = soft_prefetch,
	.free = soft_free,
};

static int check_flags(struct dax_mapping *mapping,
		       const struct dax_vma_attr *attr)
{
	const unsigned int known = DAX_VM_READ | DAX_VM_WRITE | DAX_VM_SHARED |
				   DAX_VM_SYNC;

	if (attr->flags & ~known || !(attr->flags & DAX_VM_READ))
		return dax_error(-EINVAL, "flags %#x: DAX_VM_READ is needed, WRITE, "
				 "SHARED and SYNC may be added", attr->flags);
	if (attr->pages > DAX_PAGES_PMD)
		return dax_error(-EINVAL, "pages %u is unknown", attr->pages);
	if (mapping->dax_dev->readonly && attr->flags & DAX_VM_WRITE &&
	    attr->flags & DAX_VM_SHARED)
		return dax_error(-EROFS, "%s: the device is read-only; a shared mapping "
				 "of it cannot be writable", mapping->dax_dev->path);
	return 0;
}

/* What a mapping with DAX_VM_SYNC needs; kernel: daxdev_mapping_supported(). */
static int check_sync(struct dax_mapping *mapping,
		      const struct dax_vma_attr *attr)
{
	const unsigned int needed = DAX_VM_WRITE | DAX_VM_SHARED;
	const struct dax_device *dev = mapping->dax_dev;

	if (!(attr->flags & DAX_VM_SYNC))
		return 0;
	if ((attr->flags & needed) != needed)
		return dax_error(-EINVAL, "flags %#x: a mapping with DAX_VM_SYNC must be "
				 "shared and writable", attr->flags);
	if (!dev->persist->map_sync)
		return dax_error(-EOPNOTSUPP, "%s: a mapping with sync needs persistent "
				 "memory, this device has not (%s)", dev->path,
				 dev->durability);
	if (mapping->policy->pfn_mkwrite)
		return dax_error(-EOPNOTSUPP, "the file's policy writes in two steps, a "
				 "mapping with sync needs one");
	return 0;
}

static int check_range(const struct dax_vma_attr *attr)
{
	if (attr->struct_size != sizeof(*attr))
		return dax_error(-EINVAL, "dax_vma_attr.struct_size is %zu, not %zu",
				 attr->struct_size, sizeof(*attr));
	if (attr->offset < 0 || attr->offset % DAX_PAGE_SIZE)
		return dax_error(-EINVAL, "offset %" PRId64 " is not a multiple of 4096 "
				 ">= 0", attr->offset);
	if (attr->length == 0)
		return dax_error(-EINVAL, "length is 0");
	if (attr->address % DAX_PAGE_SIZE || attr->address > max_length)
		return dax_error(-EINVAL, "address %" PRIu64 " is not a multiple of 4096 "
				 "below 2^47", attr->address);
	if (attr->length > (uint64_t)(DAX_MAX_SIZE - attr->offset))
		return dax_error(-EOVERFLOW, "offset %" PRId64 " + length %" PRIu64
				 " is beyond 2^63-4096", attr->offset, attr->length);
	if (attr->length > max_length)
		return dax_error(-EOVERFLOW, "length %" PRIu64 " is more than one mapping "
				 "can have (128 TiB)", attr->length);
	return 0;
}

/* An address whose distance to the file's offset is a multiple of 2 MiB. */
static uint64_t choose_address(dax_loff_t offset)
{
	return (UINT64_C(1) << 30) + (uint64_t)offset % DAX_PMD_SIZE;
}

static struct vma_soft *soft_alloc(struct dax_mapping *mapping,
				   const struct dax_vma_attr *attr)
{
	dax_pgoff_t nr = (attr->length + DAX_PAGE_SIZE - 1) >> DAX_PAGE_SHIFT;
	uint64_t start = attr->address ? attr->address
				       : choose_address(attr->offset);
	uint64_t first = start >> DAX_PAGE_SHIFT >> PUD_PAGES_SHIFT;
	uint64_t last = ((start >> DAX_PAGE_SHIFT) + nr - 1) >> PUD_PAGES_SHIFT;
	struct vma_soft *soft;

	soft = dax_zalloc(sizeof(*soft) + (last - first + 1) * sizeof(soft->pud[0]));
	if (!soft)
		return NULL;
	soft->vma = (struct dax_vma){
		.vm_ops = &vma_soft_ops, .mapping = mapping,
		.vm_pgoff = (dax_pgoff_t)attr->offset >> DAX_PAGE_SHIFT,
		.nr_pages = nr, .vm_start = start, .length = attr->length,
		.flags = attr->flags, .pages = attr->pages,
	};
	atomic_init(&soft->vma.refs, 1);
	soft->first_pud = first;
	soft->nr_puds = last - first + 1;
	return soft;
}

/* invalidate_lock exclusive. */
static void link_vma(struct dax_vma *vma)
{
	struct dax_mapping *mapping = vma->mapping;

	vma->i_mmap_next = mapping->i_mmap;
	vma->i_mmap_link = &mapping->i_mmap;
	if (vma->i_mmap_next)
		vma->i_mmap_next->i_mmap_link = &vma->i_mmap_next;
	mapping->i_mmap = vma;
}

static void count_real(struct dax_mapping *mapping, int n)
{
	WRITE_ONCE(mapping->nr_real, READ_ONCE(mapping->nr_real) + (unsigned int)n);
}

static void unlink_vma(struct dax_vma *vma)
{
	if (vma->real)
		count_real(vma->mapping, -1);
	*vma->i_mmap_link = vma->i_mmap_next;
	if (vma->i_mmap_next)
		vma->i_mmap_next->i_mmap_link = vma->i_mmap_link;
}

int vma_check(struct dax_mapping *mapping, const struct dax_vma_attr *attr)
{
	int ret = check_range(attr);

	if (!ret)
		ret = check_flags(mapping, attr);
	return ret ? ret : check_sync(mapping, attr);
}

int vma_soft_new(struct dax_vma **ret_vma, struct dax_mapping *mapping,
		 const struct dax_vma_attr *attr)
{
	int ret = vma_check(mapping, attr);

	return ret ? ret : vma_soft_link(ret_vma, mapping, attr, &vma_soft_ops, NULL);
}

int vma_soft_link(struct dax_vma **ret_vma, struct dax_mapping *mapping,
		  const struct dax_vma_attr *attr, const struct dax_vm_ops *vm_ops,
		  struct vma_real *real)
{
	struct vma_soft *soft = soft_alloc(mapping, attr);
	int ret;

	if (!soft)
		return dax_error(-ENOMEM, "no memory for the page table of %" PRIu64
				 " bytes", attr->length);
	ret = mapping_lock_exclusive(mapping);
	if (ret) {
		dax_free(soft);
		return ret;
	}
	soft->vma.vm_ops = vm_ops;
	soft->vma.real = real;
	account_table(&soft->vma, (int64_t)soft_bytes(soft));
	mapping_get(mapping);
	link_vma(&soft->vma);
	if (real)
		count_real(mapping, 1);
	collect_some(mapping);
	mapping_unlock_exclusive(mapping);
	*ret_vma = &soft->vma;
	return 0;
}

void vma_get(struct dax_vma *vma)
{
	atomic_fetch_add_explicit(&vma->refs, 1, memory_order_relaxed);
}

static void leave_to_reap(struct dax_vma *vma)
{
	struct dax_mapping *mapping = vma->mapping;

	vma->next_unfreed = READ_ONCE(mapping->unfreed);
	while (!atomic_compare_exchange_weak(&mapping->unfreed, &vma->next_unfreed,
					     vma))
		;
}

/* In a forked child the lock is refused, and the vma is left as it is.  So it
 * is to a block map that drops its own file's vma, and to a thread that holds
 * an entry lock: then vma_reap() frees it later. */
static void vma_release(struct dax_vma *vma)
{
	struct dax_mapping *mapping = vma->mapping;
	int ret = mapping_lock_exclusive_nested(mapping);

	if (ret == -EDEADLK)
		leave_to_reap(vma);
	if (ret)
		return;
	unlink_vma(vma);
	vma->vm_ops->zap(vma, vma->vm_pgoff, vma->vm_pgoff + vma->nr_pages - 1, true);
	vma->vm_ops->free(vma);
	collect_some(mapping);
	mapping_unlock_exclusive(mapping);
	mapping_give_back_ahead(mapping);
	vma_reap(mapping);
	mapping_put(mapping);
}

void vma_put(struct dax_vma *vma)
{
	if (atomic_fetch_sub_explicit(&vma->refs, 1, memory_order_acq_rel) != 1)
		return;
	if (vma->vm_ops->detach)
		vma->vm_ops->detach(vma);
	vma_release(vma);
}

void vma_reap(struct dax_mapping *mapping)
{
	struct dax_vma *vma = NULL;

	if (READ_ONCE(mapping->unfreed))
		vma = atomic_exchange(&mapping->unfreed, NULL);
	while (vma) {
		struct dax_vma *next = vma->next_unfreed;

		vma_release(vma);
		vma = next;
	}
}

/* ---- faults from outside ----------------------------------------------------------- */

static int check_access(const struct dax_vma *vma, dax_pgoff_t pgoff,
			uint64_t nr, bool write)
{
	if (!vma_covers(vma, pgoff) || nr > vma->nr_pages - (pgoff - vma->vm_pgoff))
		return dax_error(-EFAULT, "pages %" PRIu64 " to %" PRIu64 " are not all in "
				 "the mapping (pages %" PRIu64 " to %" PRIu64 ")", pgoff,
				 pgoff + nr - 1, vma->vm_pgoff,
				 vma->vm_pgoff + vma->nr_pages - 1);
	if (write && !(vma->flags & DAX_VM_WRITE))
		return dax_error(-EACCES, "the mapping is read-only");
	return 0;
}

/* A store to shared pages shows nobody a hole. */
static int verify_pages(const struct dax_vma *vma, dax_pgoff_t pgoff, uint64_t nr,
			bool write)
{
	if (write && vma_is_shared(vma))
		nr = 0;
	return mapping_verify(vma->mapping, (dax_loff_t)(pgoff << DAX_PAGE_SHIFT),
			      nr << DAX_PAGE_SHIFT);
}

static void vmf_init(struct dax_vm_fault *vmf, struct dax_vma *vma, bool write)
{
	*vmf = (struct dax_vm_fault){
		.vma = vma, .write = write && vma_is_shared(vma),
		.cow = write && !vma_is_shared(vma),
	};
}

static void fill_info(struct dax_fault_info *info,
		      const struct dax_vm_fault *vmf, dax_vm_fault_t fault)
{
	if (!info)
		return;
	*info = (struct dax_fault_info){
		.fault = fault, .error = vmf->error, .reason = vmf->reason,
		.offset = (dax_loff_t)(vmf->pgoff << DAX_PAGE_SHIFT),
	};
}

int vma_fault(struct dax_vma *vma, dax_pgoff_t pgoff, bool write,
	      struct dax_fault_info *info)
{
	struct dax_vm_fault vmf;
	dax_vm_fault_t fault;
	int ret = check_access(vma, pgoff, 1, write);

	if (ret)
		return ret;
	vmf_init(&vmf, vma, write);
	vmf.pgoff = pgoff;
	ret = verify_pages(vma, pgoff, 1, write);
	if (!ret)
		ret = mapping_lock_shared(vma->mapping, &vmf.area);
	if (ret)
		return ret;
	do {
		vmf.pte = pte_slot(to_soft(vma), pgoff);
		fault = handle_mm_fault(&vmf);
		if (likely(!(fault & FAULT_OUTSIDE)))
			break;
		ret = fault_outside(&vmf, &fault);
		if (ret)
			return ret;
	} while (!fault);
	mapping_unlock_shared(vma->mapping, vmf.area);
	fill_info(info, &vmf, fault);
	return (int)fault;
}

/* ---- accesses ------------------------------------------------------------------------ */

/* An access on its way through one or many pages. */
struct access {
	struct dax_vm_fault vmf;
	bool write;
	uint64_t first_page;		/* address page of page 0 of the file */
	uint64_t table_nr;		/* which 2 MiB of address space */
	struct pte_table *table;	/* its table: it lives with the vma */
	uint64_t nr_faults;
	uint64_t *latencies;
	size_t nr_latencies;
	struct dax_fault_info *info;
};

/* @nr pages from @pgoff on are what it is about. */
static int access_init(struct access *access, struct dax_vma *vma, bool write,
		       dax_pgoff_t pgoff, uint64_t nr, struct dax_fault_info *info)
{
	*access = (struct access){ .write = write, .info = info,
				   .first_page = address_page(vma, 0),
				   .table_nr = UINT64_MAX };
	vmf_init(&access->vmf, vma, write);
	if (info)
		*info = (struct dax_fault_info){ 0 };
	access->vmf.area = this_percpu(&vma->mapping->percpu);
	if (!access->vmf.area)
		return dax_error(-ENOMEM, "no memory for the thread's counters");
	return verify_pages(vma, pgoff, nr, write);
}

/* Another 2 MiB than before.  Return: the leaf as it is, vmf->pte set if it
 * stands in a table. */
static __cold uint64_t look_up_leaf(struct access *access, uint64_t page)
{
	struct vma_soft *soft = to_soft(access->vmf.vma);
	leaf_t *pmd = pmd_slot(soft, access->vmf.pgoff);
	uint64_t word = pmd ? smp_load_acquire(pmd) : 0;

	access->vmf.pte = NULL;
	if (!(word & LEAF_TABLE))
		return word;
	access->table_nr = page / PTRS_PER_TABLE;
	access->table = slot_table(word);
	access->vmf.pte = &access->table->slot[page % PTRS_PER_TABLE];
	return smp_load_acquire(access->vmf.pte);
}

static __always_inline_fn uint64_t current_leaf(struct access *access)
{
	uint64_t page = access->first_page + access->vmf.pgoff;

	if (unlikely(page / PTRS_PER_TABLE != access->table_nr))
		return look_up_leaf(access, page);
	access->vmf.pte = &access->table->slot[page % PTRS_PER_TABLE];
	return smp_load_acquire(access->vmf.pte);
}

/* Fault bits that end an access, as -errno; the lock is dropped. */
static __cold int access_error(struct access *access, dax_vm_fault_t fault)
{
	mapping_unlock_shared(access->vmf.vma->mapping, access->vmf.area);
	fill_info(access->info, &access->vmf, fault);
	if (fault & DAX_VM_FAULT_FALLBACK)
		return dax_error(-EAGAIN, "page %" PRIu64 ": the 2 MiB fault fell back: %s",
				 access->vmf.pgoff,
				 fallback_reason_name(access->vmf.reason));
	return access->vmf.error;
}

static __cold dax_vm_fault_t timed_fault(struct access *access)
{
	uint64_t start = sys_clock_ns();
	dax_vm_fault_t fault = handle_mm_fault(&access->vmf);

	access->latencies[access->nr_faults] = sys_clock_ns() - start;
	return fault;
}

/* The file was frozen: nothing against the block map, see touch_page(). */
enum { WAITED = 1 };

/* Not an ordinary end of a fault: it goes on with the lock dropped for a while,
 * or it failed. */
static __cold int access_outside(struct access *access, dax_vm_fault_t fault)
{
	int waited = fault & DAX_VM_FAULT_RETRY ? WAITED : 0;

	if (fault & FAULT_OUTSIDE) {
		int ret = fault_outside(&access->vmf, &fault);

		if (ret)
			return ret;
	}
	return fault & DAX_VM_FAULT_ERROR ? access_error(access, fault) : waited;
}

/* 0 or WAITED with the lock held, or -errno without. */
static int access_fault(struct access *access)
{
	dax_vm_fault_t fault;

	if (unlikely(access->nr_faults < access->nr_latencies))
		fault = timed_fault(access);
	else
		fault = handle_mm_fault(&access->vmf);
	access->nr_faults++;
	if (likely(!(fault & (DAX_VM_FAULT_ERROR | FAULT_OUTSIDE))))
		return 0;
	return access_outside(access, fault);
}

static __cold int no_progress(struct access *access)
{
	mapping_unlock_shared(access->vmf.vma->mapping, access->vmf.area);
	return dax_error(-EIO, "page %" PRIu64 " got no usable leaf after %d faults",
			 access->vmf.pgoff, MAX_FAULTS_PER_ACCESS);
}

/* Leaf of the page after a fault: its table may be there only now. */
static __always_inline_fn uint64_t leaf_after_fault(struct access *access)
{
	if (likely(access->vmf.pte))
		return smp_load_acquire(access->vmf.pte);
	return current_leaf(access);
}

/*
 * Fault until the page has the leaf the access needs.  invalidate_lock shared,
 * which is dropped at times.
 * Return: 0 and the leaf, or -errno and the lock is not held.
 */
static __always_inline_fn int touch_page(struct access *access,
					 uint64_t *ret_leaf)
{
	uint64_t leaf = current_leaf(access);
	int tries = 0;

	while (!leaf_allows(leaf, access->write)) {
		int ret = access_fault(access);

		if (unlikely(ret)) {
			if (ret < 0)
				return ret;
			tries = 0;
		}
		leaf = leaf_after_fault(access);
		if (unlikely(++tries == MAX_FAULTS_PER_ACCESS))
			return no_progress(access);
	}
	*ret_leaf = leaf;
	return 0;
}

/* The leaf and the slot of a page that is touched a few pages later: in random
 * order, waiting for them is most of a fault.  invalidate_lock shared. */
static inline void prefetch_page(struct access *access, dax_pgoff_t pgoff)
{
	leaf_t *pte;

	if (!vma_covers(access->vmf.vma, pgoff))
		return;
	pte = pte_slot(to_soft(access->vmf.vma), pgoff);
	if (pte)
		__builtin_prefetch(pte, 1);
	radix_tree_prefetch(&access->vmf.vma->mapping->i_pages, pgoff);
}

/* Touch the page at access->vmf.pgoff; *ret_next: the first page behind its
 * leaf.  @ahead: a page that comes soon, or NO_PAGE. */
static __always_inline_fn int touch_one(struct access *access,
					dax_pgoff_t ahead,
					dax_pgoff_t *ret_next)
{
	struct dax_vma *vma = access->vmf.vma;
	uint64_t leaf = 0;
	int ret;

	ret = mapping_relock_shared(vma->mapping, access->vmf.area);
	if (unlikely(ret))
		return ret;
	if (ahead != NO_PAGE)
		prefetch_page(access, ahead);
	ret = touch_page(access, &leaf);
	if (unlikely(ret))
		return ret;
	if (access->vmf.write && mapping_has_ahead(vma->mapping))
		keep_ahead(vma->mapping, access->vmf.area, access->vmf.pgoff);
	mapping_unlock_shared(vma->mapping, access->vmf.area);
	*ret_next = access->vmf.pgoff + 1;
	if (unlikely(leaf & LEAF_HUGE))
		*ret_next = range_end(vma, access->vmf.pgoff, DAX_PMD_ORDER,
				      vma->vm_pgoff + vma->nr_pages - 1) + 1;
	return 0;
}

static void loop_init(struct access *access, uint64_t *latencies,
		      size_t nr_latencies)
{
	access->latencies = latencies;
	access->nr_latencies = latencies ? nr_latencies : 0;
}

int64_t vma_fault_range(struct dax_vma *vma, dax_pgoff_t pgoff,
			uint64_t nr_pages, bool write, uint64_t *latencies,
			size_t nr_latencies, struct dax_fault_info *info)
{
	dax_pgoff_t end = pgoff + nr_pages;
	struct access access;
	int ret;

	if (nr_pages == 0)
		return 0;
	ret = check_access(vma, pgoff, nr_pages, write);
	if (!ret)
		ret = access_init(&access, vma, write, pgoff, nr_pages, info);
	if (ret)
		return ret;
	loop_init(&access, latencies, nr_latencies);
	while (pgoff < end) {
		access.vmf.pgoff = pgoff;
		ret = touch_one(&access, NO_PAGE, &pgoff);
		if (unlikely(ret))
			return ret;
	}
	return (int64_t)access.nr_faults;
}

/* All in the mapping; the pages from the first to the last of them. */
static int check_pgoffs(const struct dax_vma *vma, const dax_pgoff_t *pgoffs,
			size_t nr, bool write, dax_pgoff_t *ret_first,
			uint64_t *ret_nr)
{
	dax_pgoff_t first = nr ? pgoffs[0] : 0, last = first;
	int ret = 0;

	for (size_t i = 0; !ret && i < nr; i++) {
		if (unlikely(!vma_covers(vma, pgoffs[i])))
			ret = check_access(vma, pgoffs[i], 1, write);
		first = pgoffs[i] < first ? pgoffs[i] : first;
		last = pgoffs[i] > last ? pgoffs[i] : last;
	}
	*ret_first = first;
	*ret_nr = nr ? last - first + 1 : 0;
	return ret ? ret : check_access(vma, vma->vm_pgoff, 1, write);
}

int64_t vma_fault_many(struct dax_vma *vma, const dax_pgoff_t *pgoffs,
		       size_t nr, bool write, uint64_t *latencies,
		       size_t nr_latencies, struct dax_fault_info *info)
{
	struct access access;
	dax_pgoff_t first, next;
	uint64_t span;
	int ret = check_pgoffs(vma, pgoffs, nr, write, &first, &span);

	if (!ret)
		ret = access_init(&access, vma, write, first, span, info);
	if (ret)
		return ret;
	loop_init(&access, latencies, nr_latencies);
	for (size_t i = 0; i < nr; i++) {
		size_t ahead = i + PREFETCH_DISTANCE < nr ? i + PREFETCH_DISTANCE : i;

		/* The array is the caller's: read once, look again. */
		access.vmf.pgoff = *(const volatile dax_pgoff_t *)&pgoffs[i];
		if (unlikely(!vma_covers(vma, access.vmf.pgoff)))
			return check_access(vma, access.vmf.pgoff, 1, write);
		ret = touch_one(&access, pgoffs[ahead], &next);
		if (unlikely(ret))
			return ret;
	}
	return (int64_t)access.nr_faults;
}

int64_t vma_fault_around(struct dax_vma *vma, dax_pgoff_t pgoff, unsigned int nr,
			 bool write)
{
	struct dax_vm_fault vmf;
	unsigned int done;
	int64_t ret = check_access(vma, pgoff, 1, write);

	if (!ret)
		ret = verify_pages(vma, pgoff, nr, write);
	if (ret)
		return ret;
	vmf_init(&vmf, vma, write);
	vmf.pgoff = pgoff;
	ret = mapping_lock_shared(vma->mapping, &vmf.area);
	if (ret)
		return ret;
	done = iomap_fault_around(&vmf, pgoff, nr);
	mapping_unlock_shared(vma->mapping, vmf.area);
	if (done)
		return done;
	ret = vma_fault_range(vma, pgoff, 1, write, NULL, 0, NULL);
	return ret < 0 ? ret : 1;
}

/* ---- loads and stores ------------------------------------------------------------------ */

static int copy_page(struct access *access, uint64_t leaf, char *buf,
		     size_t within, size_t n)
{
	dax_pfn_t pfn = leaf_page_pfn(to_soft(access->vmf.vma), leaf,
				      access->vmf.pgoff);
	char *page = pfn_to_kaddr(pfn);
	struct dax_device *dev;

	if (!access->write)
		return copy_mc(buf, page + within, n);
	if (pfn & DAX_PFN_HOST)
		return move_mc(move_bytes, page + within, buf, n);
	dev = pfn_device(pfn);
	return dev->persist->store(dev, page + within, buf, n);
}

/* Move bytes if the leaf still allows it; 1: it does not any more. */
static int copy_inside(struct access *access, char *buf, size_t within, size_t n)
{
	int ret = 1;
	uint64_t leaf;

	percpu_access_begin(access->vmf.area);
	leaf = leaf_after_fault(access);
	if (likely(leaf_allows(leaf, access->write))) {
		dax_test_yield(DAX_TEST_STORE_INSIDE);
		ret = copy_page(access, leaf, buf, within, n);
	}
	percpu_access_end(access->vmf.area);
	return ret;
}

/* Bytes of one page; the lock is held from the leaf to the last byte. */
static int copy_one(struct access *access, char *buf, size_t within, size_t n)
{
	struct dax_mapping *mapping = access->vmf.vma->mapping;
	uint64_t leaf = 0;
	int ret;

	ret = mapping_relock_shared(mapping, access->vmf.area);
	if (unlikely(ret))
		return ret;
	do {
		ret = touch_page(access, &leaf);
		if (unlikely(ret))
			return ret;
		ret = copy_inside(access, buf, within, n);
	} while (unlikely(ret > 0));
	mapping_unlock_shared(mapping, access->vmf.area);
	return ret;
}

static ssize_t copy(struct dax_vma *vma, char *buf, size_t len, uint64_t offset,
		    bool write, struct dax_fault_info *info)
{
	struct access access;
	dax_pgoff_t first, last;
	size_t done = 0;
	int ret;

	if (len == 0)
		return 0;
	if (offset > vma->length || len > vma->length - offset)
		return dax_error(-EFAULT, "%zu bytes at %" PRIu64 " are not all in the "
				 "mapping (%" PRIu64 " bytes)", len, offset, vma->length);
	first = vma->vm_pgoff + (offset >> DAX_PAGE_SHIFT);
	last = vma->vm_pgoff + ((offset + len - 1) >> DAX_PAGE_SHIFT);
	ret = check_access(vma, vma->vm_pgoff, 1, write);
	if (!ret)
		ret = access_init(&access, vma, write, first, last - first + 1, info);
	while (!ret && done < len) {
		size_t within = (offset + done) % DAX_PAGE_SIZE;
		size_t n = DAX_PAGE_SIZE - within;

		if (n > len - done)
			n = len - done;
		access.vmf.pgoff = vma->vm_pgoff + ((offset + done) >> DAX_PAGE_SHIFT);
		ret = copy_one(&access, buf + done, within, n);
		if (!ret)
			done += n;
	}
	return done ? (ssize_t)done : ret;
}

ssize_t vma_read(struct dax_vma *vma, void *buf, size_t len, uint64_t offset,
		 struct dax_fault_info *info)
{
	return copy(vma, buf, len, offset, false, info);
}

ssize_t vma_write(struct dax_vma *vma, const void *buf, size_t len,
		  uint64_t offset, struct dax_fault_info *info)
{
	return copy(vma, (char *)(uintptr_t)buf, len, offset, true, info);
}

/* ---- the rest ---------------------------------------------------------------------------- */

int vma_dontneed(struct dax_vma *vma, uint64_t offset, uint64_t len)
{
	int ret;

	if (offset % DAX_PAGE_SIZE)
		return dax_error(-EINVAL, "offset %" PRIu64 " is not a multiple of 4096",
				 offset);
	if (offset > vma->length || len > vma->length - offset)
		return dax_error(-EFAULT, "%" PRIu64 " bytes at %" PRIu64 " are not all in "
				 "the mapping (%" PRIu64 " bytes)", len, offset, vma->length);
	if (len == 0)
		return 0;
	ret = mapping_lock_exclusive(vma->mapping);
	if (ret)
		return ret;
	vma->vm_ops->zap(vma, vma->vm_pgoff + (offset >> DAX_PAGE_SHIFT),
			 vma->vm_pgoff + ((offset + len - 1) >> DAX_PAGE_SHIFT), true);
	mapping_unlock_exclusive(vma->mapping);
	return 0;
}

int vma_pagemap(struct dax_vma *vma, dax_pgoff_t pgoff, dax_pfn_t *pfns,
		uint64_t nr_pages)
{
	struct vma_soft *soft = to_soft(vma);
	struct percpu_area *area;
	int ret;

	if (nr_pages == 0)
		return 0;
	ret = check_access(vma, pgoff, nr_pages, false);
	if (!ret)
		ret = mapping_lock_shared(vma->mapping, &area);
	if (ret)
		return ret;
	for (uint64_t i = 0; i < nr_pages; i++) {
		uint64_t leaf = find_leaf(soft, pgoff + i);

		pfns[i] = leaf ? leaf_page_pfn(soft, leaf, pgoff + i) : 0;
	}
	mapping_unlock_shared(vma->mapping, area);
	return 0;
}

static uint64_t *kind_of(struct dax_memory_info *memory, uint64_t leaf)
{
	if (leaf & LEAF_ANON)
		return &memory->copy_bytes;
	if (leaf_pfn(leaf) == DAX_ZERO_PFN || leaf_pfn(leaf) == DAX_HUGE_ZERO_PFN)
		return &memory->zero_bytes;
	return &memory->data_bytes;
}

void vma_soft_memory(struct dax_vma *vma, struct dax_memory_info *ret_memory)
{
	struct dax_memory_info memory = { 0 };
	dax_pgoff_t last = vma->vm_pgoff + vma->nr_pages - 1, nr;
	uint64_t leaf;

	for (dax_pgoff_t at = vma->vm_pgoff;
	     vma_soft_next_leaf(vma, &at, last, &leaf, &nr); at += nr)
		*kind_of(&memory, leaf) += nr << DAX_PAGE_SHIFT;
	*ret_memory = memory;
}

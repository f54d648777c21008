# libdaxcore.pxd -- the C library as Cython sees it
#
# Follows daxcore/types.h and daxcore.h in their order.  Nothing here needs
# the GIL, and calls that can sleep must be made without it.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "daxcore/types.h" nogil:
    ctypedef uint64_t dax_pgoff_t
    ctypedef int64_t dax_loff_t
    ctypedef uint64_t dax_pfn_t
    ctypedef uint64_t dax_entry_t
    ctypedef unsigned int dax_vm_fault_t
    struct dax_device
    struct dax_mapping
    struct dax_vma
    struct dax_entry_cookie
    struct dax_iomap
    struct dax_iomap_ops
    struct dax_trace

    enum dax_page_geometry:
        DAX_PAGE_SHIFT
        DAX_PAGE_SIZE
        DAX_PMD_ORDER
        DAX_PMD_NR_PAGES
        DAX_PMD_SIZE
        DAX_PUD_ORDER

    enum dax_entry_bits:
        DAX_EXCEPTIONAL
        DAX_LOCKED
        DAX_PMD
        DAX_ZERO_PAGE
        DAX_EMPTY
        DAX_ENTRY_SHIFT

    enum dax_reserved_pfn:
        DAX_ZERO_PFN
        DAX_HUGE_ZERO_PFN

    enum dax_vm_fault_bits:
        DAX_VM_FAULT_OOM
        DAX_VM_FAULT_SIGBUS
        DAX_VM_FAULT_MAJOR
        DAX_VM_FAULT_NOPAGE
        DAX_VM_FAULT_LOCKED
        DAX_VM_FAULT_RETRY
        DAX_VM_FAULT_FALLBACK
        DAX_VM_FAULT_DONE_COW
        DAX_VM_FAULT_NEEDDSYNC
        DAX_VM_FAULT_ERROR

    enum dax_fallback_reason:
        DAX_FALLBACK_NONE
        DAX_FALLBACK_COLOUR
        DAX_FALLBACK_COW
        DAX_FALLBACK_VMA_START
        DAX_FALLBACK_VMA_END
        DAX_FALLBACK_EOF
        DAX_FALLBACK_ENTRY_EXISTS
        DAX_FALLBACK_ENTRY_NOMEM
        DAX_FALLBACK_ENTRY_EIO
        DAX_FALLBACK_IOMAP_ERROR
        DAX_FALLBACK_SHORT_EXTENT
        DAX_FALLBACK_UNALIGNED_BLOCK
        DAX_FALLBACK_DIRECT_ACCESS
        DAX_FALLBACK_SHORT_ACCESS
        DAX_FALLBACK_UNALIGNED_PFN
        DAX_FALLBACK_FOREIGN_PFN
        DAX_FALLBACK_INSERT_MAPPING
        DAX_FALLBACK_NO_HUGE_ZERO
        DAX_FALLBACK_INSERT_HOLE
        DAX_FALLBACK_PMD_OCCUPIED
        DAX_FALLBACK_HOLE_WRITE
        DAX_FALLBACK_UNKNOWN_TYPE
        DAX_FALLBACK_SIZE
        DAX_NR_FALLBACK_REASONS

    enum dax_iomap_type:
        DAX_IOMAP_HOLE
        DAX_IOMAP_MAPPED
        DAX_IOMAP_UNWRITTEN

    enum dax_iomap_extent_flags:
        DAX_IOMAP_F_NEW
        DAX_IOMAP_F_DIRTY
        DAX_IOMAP_F_SHARED
        DAX_IOMAP_F_AHEAD

    enum dax_iomap_request:
        DAX_IOMAP_WRITE
        DAX_IOMAP_ZERO
        DAX_IOMAP_REPORT
        DAX_IOMAP_FAULT
        DAX_IOMAP_AHEAD

    enum dax_policy_kind:
        DAX_POLICY_ZERO_PAGE
        DAX_POLICY_PAGE_CACHE

    enum dax_page_pool_kind:
        DAX_PAGE_POOL_COLD
        DAX_PAGE_POOL_WARM

    enum dax_device_open_flags:
        DAX_DEVICE_CREATE
        DAX_DEVICE_OVERWRITE

    enum dax_mapping_open_flags:
        DAX_OPEN_WRITE
        DAX_OPEN_TRUNCATE

    enum dax_record_kind:
        DAX_RECORD_STORE
        DAX_RECORD_STORE_NT
        DAX_RECORD_ZERO_NT
        DAX_RECORD_FLUSH
        DAX_RECORD_FENCE

    enum dax_vma_flags:
        DAX_VM_READ
        DAX_VM_WRITE
        DAX_VM_SHARED
        DAX_VM_SYNC

    enum dax_vma_pages:
        DAX_PAGES_AUTO
        DAX_PAGES_PTE
        DAX_PAGES_PMD

    enum dax_vma_backend:
        DAX_BACKEND_SOFT
        DAX_BACKEND_REAL

    enum dax_vma_delivery:
        DAX_DELIVERY_THREAD
        DAX_DELIVERY_SIGNAL

    const uint64_t DAX_FAULT_AROUND_DEFAULT

    enum dax_trace_event_id:
        DAX_TRACE_PTE_FAULT
        DAX_TRACE_PTE_FAULT_DONE
        DAX_TRACE_PMD_FAULT
        DAX_TRACE_PMD_FAULT_DONE
        DAX_TRACE_LOAD_HOLE
        DAX_TRACE_INSERT_MAPPING
        DAX_TRACE_PMD_LOAD_HOLE
        DAX_TRACE_PMD_LOAD_HOLE_FALLBACK
        DAX_TRACE_PMD_INSERT_MAPPING
        DAX_TRACE_PMD_INSERT_MAPPING_FALLBACK
        DAX_TRACE_PFN_MKWRITE
        DAX_TRACE_PFN_MKWRITE_NO_ENTRY
        DAX_TRACE_WRITEBACK_RANGE
        DAX_TRACE_WRITEBACK_RANGE_DONE
        DAX_TRACE_WRITEBACK_ONE
        DAX_NR_TRACE_EVENTS

    struct dax_iomap:
        uint64_t addr
        dax_loff_t offset
        uint64_t length
        uint16_t type
        uint16_t flags
        dax_device *dax_dev
        void *private_data

    struct dax_iomap_ops:
        size_t struct_size
        int (*iomap_begin)(
                dax_mapping *mapping, void *private_data, dax_loff_t pos,
                uint64_t length, unsigned int flags, dax_iomap *iomap)
        int (*iomap_end)(
                dax_mapping *mapping, void *private_data, dax_loff_t pos,
                uint64_t length, int64_t written, unsigned int flags,
                dax_iomap *iomap)
        int (*fallocate)(
                dax_mapping *mapping, void *private_data, dax_loff_t pos,
                uint64_t len)
        int (*punch)(
                dax_mapping *mapping, void *private_data, dax_loff_t pos,
                uint64_t len)
        int (*truncate)(
                dax_mapping *mapping, void *private_data, dax_loff_t size)
        int (*sync)(dax_mapping *mapping, void *private_data)
        int (*remap)(
                dax_mapping *mapping, void *private_data, dax_loff_t pos,
                dax_mapping *src, void *src_private_data, dax_loff_t src_pos,
                uint64_t len)
        void (*free)(dax_mapping *mapping, void *private_data)

    struct dax_mapping_attr:
        size_t struct_size
        dax_loff_t size
        unsigned int policy
        unsigned int page_pool
        const dax_iomap_ops *ops
        void *private_data

    struct dax_vma_attr:
        size_t struct_size
        dax_loff_t offset
        uint64_t length
        unsigned int flags
        unsigned int pages
        uint64_t address
        unsigned int backend
        unsigned int delivery
        uint64_t fault_around

    struct dax_fault_info:
        dax_vm_fault_t fault
        int error
        int reason
        dax_loff_t offset

    struct dax_pin:
        dax_mapping *mapping
        void *kaddr
        dax_pfn_t pfn
        dax_loff_t pos
        size_t len
        int write

    struct dax_entry_info:
        dax_pgoff_t index
        dax_pfn_t pfn
        uint8_t order
        uint8_t zero
        uint8_t empty
        uint8_t locked
        uint8_t dirty
        uint8_t towrite
        uint8_t page
        uint8_t reserved

    struct dax_record:
        uint64_t offset
        uint64_t length
        uint64_t data
        uint32_t kind
        uint32_t thread

    struct dax_extent:
        dax_loff_t offset
        uint64_t length
        uint64_t device_offset
        uint32_t type
        uint32_t flags

    struct dax_memory_info:
        uint64_t zero_bytes
        uint64_t data_bytes
        uint64_t copy_bytes
        uint64_t page_table_bytes

    struct dax_trace_event:
        uint64_t time
        uint64_t ino
        uint64_t address
        uint64_t vm_start
        uint64_t vm_end
        dax_pgoff_t pgoff
        dax_pgoff_t max_pgoff
        dax_entry_t radix_entry
        dax_pfn_t pfn
        uint32_t nr_pages
        uint32_t thread
        dax_vm_fault_t result
        int32_t error
        uint16_t event
        uint16_t cpu
        uint16_t reason
        uint8_t write
        uint8_t shared


cdef extern from "daxcore.h" nogil:
    const char *dax_version()
    const char *dax_errormsg()
    int dax_device_open(
            dax_device **ret_dev, const char *path, uint64_t size,
            unsigned int flags)
    int dax_device_memory(dax_device **ret_dev, uint64_t size)
    int dax_device_emulate_pmem(dax_device **ret_dev, uint64_t size)
    int dax_device_record(dax_device **ret_dev, uint64_t size)
    void dax_device_get(dax_device *dev)
    void dax_device_put(dax_device *dev)
    int dax_device_kill(dax_device *dev)
    uint64_t dax_device_size(const dax_device *dev)
    uint64_t dax_device_free_bytes(dax_device *dev)
    uint64_t dax_device_alignment(const dax_device *dev)
    const char *dax_device_path(const dax_device *dev)
    int dax_device_alive(const dax_device *dev)
    int dax_device_readonly(const dax_device *dev)
    const char *dax_device_durability(const dax_device *dev)
    unsigned int dax_device_nr_files(const dax_device *dev)
    int64_t dax_direct_access(
            dax_device *dev, dax_pgoff_t pgoff, uint64_t nr_pages,
            void **ret_kaddr, dax_pfn_t *ret_pfn)
    int dax_device_load(
            dax_device *dev, uint64_t offset, void *buf, size_t len)
    int dax_device_store(
            dax_device *dev, uint64_t offset, const void *buf, size_t len)
    int dax_device_flush(dax_device *dev, uint64_t offset, uint64_t len)
    int dax_device_fence(dax_device *dev)
    int dax_device_sync(dax_device *dev)
    int64_t dax_device_log_length(dax_device *dev)
    int64_t dax_device_log(
            dax_device *dev, uint64_t first, dax_record *buf, size_t nr)
    int64_t dax_device_log_data(
            dax_device *dev, uint64_t data, void *buf, size_t len)
    int dax_device_log_reset(dax_device *dev)
    int dax_mapping_new(
            dax_mapping **ret_mapping, dax_device *dev,
            const dax_mapping_attr *attr)
    int dax_mapping_new_extents(
            dax_mapping **ret_mapping, dax_device *dev,
            const dax_mapping_attr *attr, const dax_extent *rows, size_t nr)
    int dax_mapping_replace_extents(
            dax_mapping *mapping, const dax_extent *rows, size_t nr)
    int dax_check_extents(
            const dax_extent *rows, size_t nr, dax_loff_t size,
            uint64_t device_size)
    int dax_mapping_open(
            dax_mapping **ret_mapping, const char *path, dax_loff_t size,
            unsigned int flags)
    void dax_mapping_get(dax_mapping *mapping)
    void dax_mapping_put(dax_mapping *mapping)
    dax_loff_t dax_mapping_size(const dax_mapping *mapping)
    unsigned int dax_mapping_policy(const dax_mapping *mapping)
    dax_device *dax_mapping_device(const dax_mapping *mapping)
    uint64_t dax_mapping_ino(const dax_mapping *mapping)
    ssize_t dax_mapping_pread(
            dax_mapping *mapping, void *buf, size_t len, dax_loff_t pos)
    ssize_t dax_mapping_pwrite(
            dax_mapping *mapping, const void *buf, size_t len, dax_loff_t pos)
    int dax_mapping_truncate(dax_mapping *mapping, dax_loff_t size)
    int dax_mapping_fallocate(
            dax_mapping *mapping, dax_loff_t pos, uint64_t len)
    int dax_mapping_punch_hole(
            dax_mapping *mapping, dax_loff_t pos, uint64_t len)
    int dax_mapping_zero_range(
            dax_mapping *mapping, dax_loff_t pos, uint64_t len)
    int64_t dax_mapping_writeback(
            dax_mapping *mapping, dax_loff_t pos, uint64_t len)
    int dax_mapping_fsync(dax_mapping *mapping, uint32_t *since)
    uint32_t dax_mapping_wb_err(const dax_mapping *mapping)
    int dax_mapping_clone(dax_mapping **ret_mapping, dax_mapping *src)
    int dax_mapping_clone_range(
            dax_mapping *dst, dax_loff_t dst_pos, dax_mapping *src,
            dax_loff_t src_pos, uint64_t len)
    int64_t dax_mapping_dedupe_range(
            dax_mapping *dst, dax_loff_t dst_pos, dax_mapping *src,
            dax_loff_t src_pos, uint64_t len)
    ssize_t dax_pin_pages(
            dax_mapping *mapping, dax_loff_t pos, size_t len, int write,
            dax_pin *ret_pin)
    int dax_unpin_pages(dax_pin *pin, int dirty)
    int dax_layout_busy_page_range(
            dax_mapping *mapping, dax_pgoff_t first, dax_pgoff_t last,
            dax_pgoff_t *ret_index, dax_pfn_t *ret_pfn)
    int dax_break_layout(
            dax_mapping *mapping, dax_pgoff_t first, dax_pgoff_t last,
            int nowait)
    int64_t dax_mapping_entries(
            dax_mapping *mapping, dax_pgoff_t *index, dax_entry_info *buf,
            size_t nr)
    int64_t dax_mapping_collect(dax_mapping *mapping)
    int dax_mapping_freeze(dax_mapping *mapping)
    int dax_mapping_thaw(dax_mapping *mapping)
    int dax_lock_mapping_entry(
            dax_mapping *mapping, dax_pgoff_t index, unsigned int order,
            dax_entry_info *row, dax_entry_cookie **ret_cookie)
    int dax_unlock_mapping_entry(dax_entry_cookie *cookie)
    int dax_drop_mapping_entry(dax_entry_cookie *cookie)
    int64_t dax_mapping_extents(
            dax_mapping *mapping, dax_loff_t *pos, dax_extent *buf, size_t nr)
    size_t dax_mapping_stats(dax_mapping *mapping, uint64_t *values, size_t nr)
    const char *dax_stat_name(size_t i)
    const char *dax_fallback_reason_name(int reason)
    int dax_vma_new(
            dax_vma **ret_vma, dax_mapping *mapping, const dax_vma_attr *attr)
    void dax_vma_get(dax_vma *vma)
    void dax_vma_put(dax_vma *vma)
    dax_mapping *dax_vma_mapping(const dax_vma *vma)
    uint64_t dax_vma_length(const dax_vma *vma)
    dax_loff_t dax_vma_offset(const dax_vma *vma)
    void *dax_vma_address(const dax_vma *vma)
    const char *dax_vma_dirty_tracking(const dax_vma *vma)
    int dax_vma_fault(
            dax_vma *vma, dax_pgoff_t pgoff, int write, dax_fault_info *info)
    int64_t dax_vma_fault_range(
            dax_vma *vma, dax_pgoff_t pgoff, uint64_t nr_pages, int write,
            uint64_t *latencies, size_t nr_latencies, dax_fault_info *info)
    int64_t dax_vma_fault_many(
            dax_vma *vma, const dax_pgoff_t *pgoffs, size_t nr, int write,
            uint64_t *latencies, size_t nr_latencies, dax_fault_info *info)
    ssize_t dax_vma_read(
            dax_vma *vma, void *buf, size_t len, uint64_t offset,
            dax_fault_info *info)
    ssize_t dax_vma_write(
            dax_vma *vma, const void *buf, size_t len, uint64_t offset,
            dax_fault_info *info)
    int dax_vma_dontneed(dax_vma *vma, uint64_t offset, uint64_t len)
    int dax_vma_pagemap(
            dax_vma *vma, dax_pgoff_t pgoff, dax_pfn_t *pfns, uint64_t nr_pages)
    int dax_vma_memory(dax_vma *vma, dax_memory_info *ret_memory)
    int dax_trace_start(
            dax_trace **ret_trace, dax_mapping *mapping, size_t nr_events)
    void dax_trace_stop(dax_trace *trace)
    int64_t dax_trace_read(dax_trace *trace, dax_trace_event *buf, size_t nr)
    uint64_t dax_trace_lost(dax_trace *trace)
    void dax_trace_free(dax_trace *trace)
    const char *dax_trace_event_name(int event)

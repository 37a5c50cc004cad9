#include "cudnn_graph.hpp"

#include <algorithm>
#include <cstring>

#include "nemo/cpp/core.hpp"

namespace nemo::cuda {

CudnnDescriptor::CudnnDescriptor(const Cudnn& cudnn, cudnnBackendDescriptorType_t type) : cudnn_(&cudnn) {
  cudnn.check(cudnn.create_descriptor(type, &descriptor_), "create a descriptor");
}

CudnnDescriptor::~CudnnDescriptor() {
  if (descriptor_ != nullptr) cudnn_->destroy_descriptor(descriptor_);
}

CudnnDescriptor::CudnnDescriptor(CudnnDescriptor&& other) noexcept
    : cudnn_(other.cudnn_), descriptor_(std::exchange(other.descriptor_, nullptr)) {}

CudnnDescriptor& CudnnDescriptor::operator=(CudnnDescriptor&& other) noexcept {
  std::swap(cudnn_, other.cudnn_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

void CudnnDescriptor::set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count, const void* values) {
  const cudnnStatus_t status = cudnn_->set_attribute(descriptor_, name, type, count, values);
  if (status != CUDNN_STATUS_SUCCESS) cudnn_->check(status, ("attribute " + std::to_string(name)).c_str());
}

void CudnnDescriptor::set(cudnnBackendAttributeName_t name, const CudnnDescriptor& other) {
  set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &other.descriptor_);
}

void CudnnDescriptor::finalize(const char* what) { cudnn_->check(cudnn_->finalize(descriptor_), what); }

CudnnGraph::Id CudnnGraph::add_tensor(cudnnDataType_t type, const Dims& dims, const Dims& strides, bool is_virtual, bool by_value,
                                      Id starts) {
  const int64_t uid = static_cast<int64_t>(tensors_.size()) + 1, alignment = 16;
  CudnnDescriptor t = make(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  t.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
  t.set(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dims.data());
  t.set(CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, strides.data());
  t.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &uid);
  t.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
  if (is_virtual) t.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual);
  if (by_value) t.set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &by_value);
  if (starts >= 0) t.set(CUDNN_ATTR_TENSOR_RAGGED_OFFSET_DESC, tensors_[starts]);
  t.finalize("tensor");
  tensors_.push_back(std::move(t));
  return static_cast<Id>(uid - 1);
}

CudnnGraph::Id CudnnGraph::memory(cudnnDataType_t type, const Dims& dims, const Dims& strides, Id starts) {
  const Id id = add_tensor(type, dims, strides, false, false, starts);
  memory_uids_.push_back(id + 1);
  return id;
}

CudnnGraph::Id CudnnGraph::value(cudnnDataType_t type, const Dims& dims, const Dims& strides, Id starts) {
  return add_tensor(type, dims, strides, true, false, starts);
}

CudnnGraph::Id CudnnGraph::value(cudnnDataType_t type, const Dims& dims) {
  return value(type, dims, {dims[1] * dims[2] * dims[3], dims[2] * dims[3], dims[3], 1});
}

CudnnGraph::Id CudnnGraph::add_constant(cudnnDataType_t type, const void* value) {
  const Id id = add_tensor(type, {1, 1, 1, 1}, {1, 1, 1, 1}, false, true);
  constant_uids_.push_back(id + 1);
  std::memcpy(constants_.emplace_back().data(), value, 4);
  return id;
}

CudnnGraph::Id CudnnGraph::constant(float v) { return add_constant(CUDNN_DATA_FLOAT, &v); }
CudnnGraph::Id CudnnGraph::constant(int32_t v) { return add_constant(CUDNN_DATA_INT32, &v); }

void CudnnGraph::matmul(Id a, Id b, Id out, const Limits& limits) {
  const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
  CudnnDescriptor matmul = make(CUDNN_BACKEND_MATMUL_DESCRIPTOR);
  matmul.set(CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute);
  matmul.finalize("matmul");
  CudnnDescriptor op = make(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
  op.set(CUDNN_ATTR_OPERATION_MATMUL_ADESC, tensors_[a]);
  op.set(CUDNN_ATTR_OPERATION_MATMUL_BDESC, tensors_[b]);
  op.set(CUDNN_ATTR_OPERATION_MATMUL_CDESC, tensors_[out]);
  op.set(CUDNN_ATTR_OPERATION_MATMUL_DESC, matmul);
  if (limits.m >= 0) op.set(CUDNN_ATTR_OPERATION_MATMUL_GEMM_M_OVERRIDE_DESC, tensors_[limits.m]);
  if (limits.n >= 0) op.set(CUDNN_ATTR_OPERATION_MATMUL_GEMM_N_OVERRIDE_DESC, tensors_[limits.n]);
  if (limits.k >= 0) op.set(CUDNN_ATTR_OPERATION_MATMUL_GEMM_K_OVERRIDE_DESC, tensors_[limits.k]);
  op.finalize("matmul operation");
  ops_.push_back(std::move(op));
}

void CudnnGraph::reduce(cudnnReduceTensorOp_t reduction, Id x, Id out) {
  const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
  CudnnDescriptor reduce = make(CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
  reduce.set(CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute);
  reduce.set(CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, 1, &reduction);
  reduce.finalize("reduction");
  CudnnDescriptor op = make(CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
  op.set(CUDNN_ATTR_OPERATION_REDUCTION_DESC, reduce);
  op.set(CUDNN_ATTR_OPERATION_REDUCTION_XDESC, tensors_[x]);
  op.set(CUDNN_ATTR_OPERATION_REDUCTION_YDESC, tensors_[out]);
  op.finalize("reduction operation");
  ops_.push_back(std::move(op));
}

void CudnnGraph::reshape(Id x, Id out) {
  CudnnDescriptor op = make(CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR);
  op.set(CUDNN_ATTR_OPERATION_RESHAPE_XDESC, tensors_[x]);
  op.set(CUDNN_ATTR_OPERATION_RESHAPE_YDESC, tensors_[out]);
  op.finalize("reshape operation");
  ops_.push_back(std::move(op));
}

void CudnnGraph::add_pointwise(CudnnDescriptor& pointwise, Id out, Id x, Id b, Id mask) {
  pointwise.finalize("pointwise");
  const float one = 1;
  CudnnDescriptor op = make(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  op.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, pointwise);
  op.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, tensors_[x]);
  op.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, tensors_[out]);
  if (b >= 0) op.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, tensors_[b]);
  if (mask >= 0) op.set(CUDNN_ATTR_OPERATION_POINTWISE_TDESC, tensors_[mask]);
  op.set(CUDNN_ATTR_OPERATION_POINTWISE_ALPHA1, CUDNN_TYPE_FLOAT, 1, &one);
  op.set(CUDNN_ATTR_OPERATION_POINTWISE_ALPHA2, CUDNN_TYPE_FLOAT, 1, &one);
  op.finalize("pointwise operation");
  ops_.push_back(std::move(op));
}

void CudnnGraph::pointwise(cudnnPointwiseMode_t mode, cudnnDataType_t compute, Id out, Id x, Id b, Id mask) {
  CudnnDescriptor pointwise = make(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  pointwise.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
  pointwise.set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &compute);
  add_pointwise(pointwise, out, x, b, mask);
}

void CudnnGraph::index(int64_t axis, Id like, Id out) {
  const cudnnPointwiseMode_t mode = CUDNN_POINTWISE_GEN_INDEX;
  const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
  CudnnDescriptor pointwise = make(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  pointwise.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
  pointwise.set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &compute);
  pointwise.set(CUDNN_ATTR_POINTWISE_AXIS, CUDNN_TYPE_INT64, 1, &axis);
  add_pointwise(pointwise, out, like, -1, -1);
}

std::shared_ptr<const CudnnPlan> CudnnGraph::build() {
  const cudnnHandle_t handle = cudnn_->handle();
  std::vector<cudnnBackendDescriptor_t> ops;
  for (const CudnnDescriptor& op : ops_) ops.push_back(op.get());
  CudnnDescriptor graph = make(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, static_cast<int64_t>(ops.size()), ops.data());
  graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
  graph.finalize("operation graph");

  const cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A;
  CudnnDescriptor heuristics = make(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
  heuristics.finalize("heuristics");
  int64_t count = 0;
  cudnn_->check(cudnn_->get_attribute(heuristics.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, &count, nullptr),
                "count the engine configurations");
  std::vector<CudnnDescriptor> configs;
  std::vector<cudnnBackendDescriptor_t> raw;
  for (int64_t i = 0; i < count; ++i) configs.push_back(make(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR)), raw.push_back(configs.back().get());
  cudnn_->check(
      cudnn_->get_attribute(heuristics.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, count, &count, raw.data()),
      "read the engine configurations");

  cudnnStatus_t last = CUDNN_STATUS_NOT_SUPPORTED;
  for (int64_t i = 0; i < count; ++i) {
    auto result = std::make_shared<CudnnPlan>();
    result->plan_ = make(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    result->plan_.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configs[i]);
    result->plan_.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
    last = cudnn_->finalize(result->plan_.get());
    if (last != CUDNN_STATUS_SUCCESS) continue;
    int64_t bytes = 0;
    cudnn_->check(
        cudnn_->get_attribute(result->plan_.get(), CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, nullptr, &bytes),
        "workspace size");
    result->cudnn_ = cudnn_;
    result->workspace_ = static_cast<uint64_t>(bytes);
    result->memory_uids_ = memory_uids_;
    result->constant_uids_ = constant_uids_;
    result->constants_ = constants_;
    return result;
  }
  cudnn_->check(last, "no engine builds this graph");
  return nullptr;
}

void CudnnBinding::execute(cudaStream_t stream, std::span<void* const> addresses, void* workspace) {
  const Cudnn& cudnn = *plan_->cudnn_;
  if (pack_.get() == nullptr || !std::ranges::equal(addresses, addresses_) || workspace != workspace_) {
    std::vector<int64_t> uids = plan_->memory_uids_;
    addresses_.assign(addresses.begin(), addresses.end());
    std::vector<void*> all = addresses_;
    for (size_t i = 0; i < plan_->constant_uids_.size(); ++i) {
      uids.push_back(plan_->constant_uids_[i]);
      all.push_back(const_cast<char*>(plan_->constants_[i].data()));
    }
    CudnnDescriptor pack(cudnn, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    const auto count = static_cast<int64_t>(uids.size());
    pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, count, uids.data());
    pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, count, all.data());
    pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
    pack.finalize("variant pack");
    pack_ = std::move(pack);
    workspace_ = workspace;
  }
  cudnn.check(cudnn.set_stream(cudnn.handle(), stream), "cudnnSetStream");
  cudnn.check(cudnn.execute(cudnn.handle(), plan_->plan_.get(), pack_.get()), "execute");
}

}  // namespace nemo::cuda

/**
 * Which variables the programs that srlm starts get: what they need to find its files, its libraries and its
 * devices. Not the rest, since keys of endpoints and clouds are there, and these programs load what others made.
 */
const PASSED =
  /^(PATH|HOME|USER|LOGNAME|SHELL|TMPDIR|TZ|LANG|LC_\w+|XDG_\w+|LD_\w+|MALLOC_\w+|DYLD_\w+|PYTHON\w*|VIRTUAL_ENV|CONDA_PREFIX|HF_HOME|HF_HUB_CACHE|TORCH\w*|PYTORCH_\w+|TRITON_\w+|CUDA\w*|CUBLAS_\w+|CUDNN_\w+|NVIDIA_\w+|NCCL_\w+|GLOO_\w+|HIP_\w+|HSA_\w+|ROCR_\w+|ROCM_\w+|OMP_\w+|MKL_\w+|KMP_\w+|GOMP_\w+|OPENBLAS_\w+|ACCELERATE_\w+|FSDP_\w+|DS_\w+|MASTER_\w+|GO[A-Z]+)$/;
/** Whatever a name above allows: it holds a secret. */
const SECRET = /KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL/i;

export const isPassed = (name: string): boolean => PASSED.test(name) && !SECRET.test(name);

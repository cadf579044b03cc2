# shellcheck shell=bash
# Shared by the submit scripts: options, the jobs' account, and the packing for Dataproc.
# Sourced from the project's folder.

# shellcheck source=deploy/gcloud.sh
source deploy/gcloud.sh
# shellcheck source=deploy/settings.sh
source deploy/settings.sh
# shellcheck source=deploy/resources.sh
source deploy/resources.sh

DATAPROC_VERSION=2.3 # Spark 3.5, Python 3.11
DATAPROC_PYTHON=3.11
EXECUTOR_CORES=4 # the fewest that Dataproc gives an executor; it gives a batch at least two of them
# Names the batch or job of one submission, and its folder in the bucket.
RUN=$(date -u +%Y%m%d-%H%M%S)

# usage: read_arguments OPTION_PATTERN ARGUMENT...
# Sets JOB_ARGUMENTS to those that the job itself takes.
# shellcheck disable=SC2034 # JOB_ARGUMENTS is for the callers
read_arguments() {
    local argument pattern=$1
    shift
    JOB_ARGUMENTS=()
    for argument in "$@"; do
        if [[ $argument == --dry-run ]]; then
            DRY_RUN=true
        elif [[ $argument == --help || $argument == -h ]]; then
            usage
            exit
        elif [[ -n $pattern && $argument =~ ^($pattern)$ ]]; then
            JOB_ARGUMENTS+=("$argument")
        else
            usage >&2
            stop "unknown argument: $argument"
        fi
    done
}

# usage: prepare SETTING...
# Prepares the run before the first change: settings, a folder to work in, and what ./deploy.sh made.
prepare() {
    read_settings
    require_settings "$@"
    check_forms
    begin
    require_deployed "bucket gs://$(bucket)" storage buckets describe "gs://$(bucket)"
}

# Runs the last step, whose output is the job's.
submit() {
    call "$@" || stop "failed: $STEP"
}

# Prints GCS_PATH as an address, without a slash at its end.
storage_address() {
    local path=${GCS_PATH#gs://}
    printf 'gs://%s' "${path%/}"
}

# usage: ensure_jobs_account ROLE
# Creates the account with rights on the bucket's objects, and with its service's role on the
# project.
ensure_jobs_account() {
    ensure_account hiring-jobs "Backups and forecasts on Dataproc and Vertex AI"
    grant "storage buckets" "gs://$(bucket)" jobs storage.objectUser
    grant projects "$PROJECT_ID" jobs "$1"
}

# usage: copy_jobs FOLDER
copy_jobs() {
    copy_modules "$1"
    do_here mkdir "$1/jobs"
    do_here cp jobs/*.py jobs/*.html "$1/jobs"
}

# Packs the modules and packages; Dataproc unpacks the archive beside the driver and each worker,
# which find them by PYTHONPATH. The packages are for Dataproc's machines, not for this one.
pack_for_dataproc() {
    local packages=$WORK/packages
    step "pack the modules and the packages that they need"
    do_here python3 -m pip install --quiet --disable-pip-version-check --target="$packages" \
        --platform=manylinux_2_28_x86_64 --platform=manylinux2014_x86_64 --implementation=cp \
        --python-version="$DATAPROC_PYTHON" --only-binary=:all: --requirement=requirements.txt
    copy_jobs "$packages"
    do_here tar --create --gzip --file="$WORK/packages.tar.gz" --directory="$packages" .
    step "upload them"
    run storage cp "$WORK/packages.tar.gz" "$(storage_address)/jobs/$RUN/packages.tar.gz"
}

# usage: submit_to_dataproc NAME SCRIPT EXECUTORS [SETTING=VALUE...] [-- ARGUMENT...]
# The settings become the driver's environment. A barrier stage needs all its slots at once, so the
# number of executors is fixed.
submit_to_dataproc() {
    local name=$1 script=$2 setting
    local properties=spark.dynamicAllocation.enabled=false,spark.executor.instances=$3
    properties+=,spark.executor.cores=$EXECUTOR_CORES
    properties+=,spark.speculation=false
    properties+=,spark.dataproc.driverEnv.PYTHONPATH=./packages,spark.executorEnv.PYTHONPATH=./packages
    properties+=,spark.dataproc.driverEnv.GOOGLE_CLOUD_PROJECT=$PROJECT_ID
    properties+=,spark.executorEnv.GOOGLE_CLOUD_PROJECT=$PROJECT_ID
    shift 3
    for setting in "$@"; do
        [[ $setting != -- ]] || break
        properties+=,spark.dataproc.driverEnv.$setting
        shift
    done
    # A service that was just enabled is not ready at once; the submission itself is not repeated.
    step "Dataproc answers"
    ask dataproc batches list --region="$REGION" --limit=1
    local network=()
    [[ -z ${JOBS_SUBNET:-} ]] || network=(--subnet="$JOBS_SUBNET")
    step "batch hiring-$name-$RUN"
    submit dataproc batches submit pyspark "$script" --batch="hiring-$name-$RUN" \
        --region="$REGION" --version="$DATAPROC_VERSION" \
        --service-account="$(account hiring-jobs)" --deps-bucket="gs://$(bucket)" \
        --archives="$(storage_address)/jobs/$RUN/packages.tar.gz#packages" \
        "${network[@]}" --properties="$properties" "$@"
}

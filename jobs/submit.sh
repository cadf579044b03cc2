#!/usr/bin/env bash
# Submits a job to Google: the backup by many workers to Dataproc, or the forecast to Vertex AI.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
for part in gcloud settings resources; do
    # shellcheck source=/dev/null
    source "deploy/$part.sh"
done

DATAPROC_VERSION=2.3 # Spark 3.5, Python 3.11
DATAPROC_PYTHON=3.11
EXECUTOR_CORES=4 # the fewest that Dataproc gives an executor; it gives a batch at least two of them
MACHINE=e2-standard-4
# Names the batch or job of one submission, and its folder in the bucket.
RUN=$(date -u +%Y%m%d-%H%M%S)

usage() {
    cat <<'END'
Usage: jobs/submit.sh [--dry-run] backup [--workers=N] | forecast

Run it after ./deploy.sh. Settings come from the environment or from deploy.env.
  backup       run jobs/distributed_backup.py on Dataproc, and show what it says until its end;
               JOBS_DB_HOST is the private address of the instance or of a replica
  --workers=N  how many connections read at a time: a multiple of 4, 8 by default
  forecast     run jobs/forecast.py on Vertex AI, from the newest complete backup; it goes on by itself,
               and gcloud says how to follow it
  --dry-run    print every command that would change something, call nothing
END
}

read_arguments() {
    local argument
    JOB="" WORKERS=""
    # shellcheck disable=SC2034 # DRY_RUN is for deploy/gcloud.sh
    for argument in "$@"; do
        case $argument in
        --dry-run) DRY_RUN=true ;;
        --workers=*) WORKERS=${argument#*=} ;;
        --help | -h | help) usage && exit ;;
        backup | forecast) JOB=$argument ;;
        *) usage >&2 && stop "unknown argument: $argument" ;;
        esac
    done
    [[ -n $JOB ]] || { usage >&2 && stop "which job?"; }
    [[ -z $WORKERS || $JOB == backup ]] || stop "--workers is for backup"
    : "${WORKERS:=$((2 * EXECUTOR_CORES))}"
    [[ $WORKERS =~ ^[1-9][0-9]*$ && WORKERS -gt EXECUTOR_CORES && $((WORKERS % EXECUTOR_CORES)) == 0 ]] ||
        stop "--workers takes a multiple of $EXECUTOR_CORES, at least $((2 * EXECUTOR_CORES))"
}

# Prepares the run before the first change: settings, a folder to work in, and what ./deploy.sh made.
prepare() { # SETTING...
    require_settings PROJECT_ID REGION GCS_PATH DB_NAME "$@"
    check_forms
    begin
    require_deployed "bucket gs://$(bucket)" storage buckets describe "gs://$(bucket)"
}

# Enables the service, and gives the jobs' account its role, and rights on the bucket's objects.
ensure_service() { # NAME ROLE
    step "enable the service"
    run services enable "$1.googleapis.com"
    ensure_account hiring-jobs "Backups and forecasts on Dataproc and Vertex AI"
    grant "storage buckets" "gs://$(bucket)" jobs storage.objectUser
    grant projects "$PROJECT_ID" jobs "$2"
}

copy_jobs() { # FOLDER
    copy_modules "$1"
    do_here mkdir "$1/jobs"
    do_here cp jobs/*.py jobs/*.html "$1/jobs"
}

# Packs the modules and packages; Dataproc unpacks the archive beside the driver and each worker,
# which find them by PYTHONPATH. The packages are for Dataproc's machines, not for this one.
pack_for_dataproc() { # ADDRESS
    step "pack the modules and the packages that they need"
    do_here python3 -m pip install --quiet --disable-pip-version-check --target="$WORK/packages" \
        --platform=manylinux_2_28_x86_64 --platform=manylinux2014_x86_64 --implementation=cp \
        --python-version="$DATAPROC_PYTHON" --only-binary=:all: --requirement=requirements.txt
    copy_jobs "$WORK/packages"
    do_here tar --create --gzip --file="$WORK/packages.tar.gz" --directory="$WORK/packages" .
    step "upload them"
    run storage cp "$WORK/packages.tar.gz" "$1"
}

backup() {
    prepare INSTANCE_CONNECTION_NAME JOBS_DB_HOST
    local path=${GCS_PATH#gs://} driver=spark.dataproc.driverEnv executor=spark.executorEnv
    local archive=gs://${path%/}/jobs/$RUN/packages.tar.gz
    check_users jobs
    ensure_service dataproc dataproc.worker
    # The job's account reads the password itself, because anybody can see a batch's properties.
    ensure_password jobs
    pack_for_dataproc "$archive"
    # A barrier stage needs all its slots at once, so the number of executors is fixed.
    local properties=(
        "spark.dynamicAllocation.enabled=false"
        "spark.executor.instances=$((WORKERS / EXECUTOR_CORES))"
        "spark.executor.cores=$EXECUTOR_CORES"
        "$driver.PYTHONPATH=./packages"
        "$executor.PYTHONPATH=./packages"
        "$driver.GOOGLE_CLOUD_PROJECT=$PROJECT_ID"
        "$executor.GOOGLE_CLOUD_PROJECT=$PROJECT_ID"
        "$driver.GCS_PATH=$GCS_PATH"
        "$driver.DB_HOST=$JOBS_DB_HOST"
        "$driver.DB_NAME=$DB_NAME"
        "$driver.DB_USER=$(db_user jobs)"
        "$driver.DB_PASS_SECRET=projects/$PROJECT_ID/secrets/hiring-jobs-password/versions/latest"
    )
    # A service that was just enabled is not ready at once; the submission itself is not repeated.
    step "Dataproc answers"
    ask dataproc batches list --region="$REGION" --limit=1
    step "batch hiring-backup-$RUN"
    call dataproc batches submit pyspark jobs/distributed_backup.py --batch="hiring-backup-$RUN" \
        --region="$REGION" --version="$DATAPROC_VERSION" \
        --service-account="$(account hiring-jobs)" --deps-bucket="gs://$(bucket)" \
        --archives="$archive#packages" ${JOBS_SUBNET:+--subnet="$JOBS_SUBNET"} \
        --properties="$(IFS=, && printf '%s' "${properties[*]}")" -- --workers="$WORKERS" ||
        stop "failed: $STEP"
}

forecast() {
    prepare
    require_deployed "service account hiring-build" \
        iam service-accounts describe "$(account hiring-build)"
    ensure_service aiplatform logging.logWriter
    step "build the image"
    copy_jobs "$WORK/image"
    do_here cp requirements.txt jobs/Dockerfile "$WORK/image"
    do_here cp jobs/requirements.txt "$WORK/image/jobs"
    build_image "forecast:$RUN" "$WORK/image"
    step "Vertex AI answers"
    ask ai custom-jobs list --region="$REGION" --limit=1
    step "job hiring-forecast-$RUN"
    call ai custom-jobs create --region="$REGION" --display-name="hiring-forecast-$RUN" \
        --service-account="$(account hiring-jobs)" \
        --worker-pool-spec="machine-type=$MACHINE,replica-count=1,container-image-uri=$IMAGE" \
        --command="env,GCS_PATH=$GCS_PATH,DB_NAME=$DB_NAME,GOOGLE_CLOUD_PROJECT=$PROJECT_ID,python,-m,jobs.forecast" ||
        stop "failed: $STEP"
}

main() {
    read_arguments "$@"
    read_settings
    "$JOB"
}

main "$@"

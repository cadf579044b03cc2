#!/usr/bin/env bash
# Has Vertex AI forecast hires from the newest complete backup.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=jobs/submit.sh
source jobs/submit.sh

MACHINE=e2-standard-4

usage() {
    cat <<'END'
Usage: jobs/submit-forecast.sh [--dry-run]

Runs jobs/forecast.py as a custom job of Vertex AI, after ./deploy.sh. Settings come from the
environment or from deploy.env. The job goes on by itself; gcloud says how to follow it.
  --dry-run  print every command that would change something, call nothing
END
}

main() {
    read_arguments "" "$@"
    prepare PROJECT_ID REGION GCS_PATH DB_NAME
    require_deployed "service account hiring-build" \
        iam service-accounts describe "$(account hiring-build)"
    step "enable the service"
    run services enable aiplatform.googleapis.com
    ensure_jobs_account logging.logWriter
    step "build the image"
    copy_jobs "$WORK/image"
    do_here cp requirements.txt jobs/Dockerfile "$WORK/image"
    do_here cp jobs/requirements.txt "$WORK/image/jobs"
    build_image "forecast:$RUN" "$WORK/image"
    step "Vertex AI answers"
    ask ai custom-jobs list --region="$REGION" --limit=1
    step "job hiring-forecast-$RUN"
    submit ai custom-jobs create --region="$REGION" --display-name="hiring-forecast-$RUN" \
        --service-account="$(account hiring-jobs)" \
        --worker-pool-spec="machine-type=$MACHINE,replica-count=1,container-image-uri=$IMAGE" \
        --command="env,GCS_PATH=$GCS_PATH,DB_NAME=$DB_NAME,GOOGLE_CLOUD_PROJECT=$PROJECT_ID,python,-m,jobs.forecast"
}

main "$@"

import { NodeConnectionTypes, type INodeType, type INodeTypeDescription } from 'n8n-workflow';

import { leaseFields, leaseOperations } from './lease';
import { modelFields, modelOperations } from './model';

// A load blocks up to 240 s, and a request that waits for others may come after one: longer than both.
const TIMEOUT_MS = 300_000;

export class VramOrchestrator implements INodeType {
	description: INodeTypeDescription = {
		displayName: 'VRAM Orchestrator',
		name: 'vramOrchestrator',
		icon: { light: 'file:../../icons/vram.svg', dark: 'file:../../icons/vram.dark.svg' },
		group: ['transform'],
		version: 1,
		subtitle: '={{$parameter["operation"] + ": " + $parameter["resource"]}}',
		description: 'Load, unload and plan GPU models, and lease VRAM',
		defaults: { name: 'VRAM Orchestrator' },
		usableAsTool: true,
		inputs: [NodeConnectionTypes.Main],
		outputs: [NodeConnectionTypes.Main],
		credentials: [{ name: 'vramOrchestratorApi', required: true }],
		requestDefaults: {
			baseURL: '={{$credentials?.baseUrl}}',
			headers: { Accept: 'application/json', 'Content-Type': 'application/json' },
			timeout: TIMEOUT_MS,
		},
		properties: [
			{
				displayName: 'Resource',
				name: 'resource',
				type: 'options',
				noDataExpression: true,
				options: [
					{ name: 'Lease', value: 'lease' },
					{ name: 'Model', value: 'model' },
				],
				default: 'model',
			},
			...modelOperations,
			...modelFields,
			...leaseOperations,
			...leaseFields,
		],
	};
}

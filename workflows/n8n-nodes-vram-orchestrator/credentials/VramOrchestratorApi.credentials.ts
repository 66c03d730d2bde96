import type {
	IAuthenticateGeneric,
	Icon,
	ICredentialTestRequest,
	ICredentialType,
	INodeProperties,
} from 'n8n-workflow';

export class VramOrchestratorApi implements ICredentialType {
	name = 'vramOrchestratorApi';

	displayName = 'VRAM Orchestrator API';

	icon: Icon = { light: 'file:../icons/vram.svg', dark: 'file:../icons/vram.dark.svg' };

	documentationUrl = 'https://example.invalid/vram-orchestrator#credentials';

	properties: INodeProperties[] = [
		{
			displayName: 'Base URL',
			name: 'baseUrl',
			type: 'string',
			default: 'http://model-orchestrator:8000',
			description: 'Where the orchestrator answers, without a slash at the end',
		},
		{
			displayName: 'API Key',
			name: 'apiKey',
			type: 'string',
			typeOptions: { password: true },
			default: '',
			description: 'Sent as a bearer token; leave it empty if nothing asks for one',
		},
	];

	authenticate: IAuthenticateGeneric = {
		type: 'generic',
		properties: { headers: { Authorization: '=Bearer {{$credentials?.apiKey}}' } },
	};

	test: ICredentialTestRequest = {
		request: { baseURL: '={{$credentials?.baseUrl}}', url: '/auth/whoami', method: 'GET' },
	};
}
